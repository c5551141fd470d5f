use sync_core::document::Section;
use sync_core::id::Actor;
use sync_core::model::capture::ClaimBasis;
use sync_core::model::catalogue::Display;

use super::super::reader::{Range, Reader};
use super::*;

const DEVICE: DeviceId = DeviceId::from_bytes([5; 16]);

fn database() -> Connection {
    let mut db = Connection::open_in_memory().unwrap();
    super::super::migrate(&mut db).unwrap();
    db
}

fn begin<'a>(tx: &'a Transaction<'a>) -> Ledger<'a> {
    let (id, origin) = (OrgId::from_bytes([1; 16]), LogOrigin::from_bytes([2; 16]));
    let made = Organisation { org: 1, id, name: "A".into(), seed: [3; 32], instance: [4; 8] };
    create(tx, &made, origin, [7; 32], 0).unwrap();
    Ledger::open(tx, 1).unwrap()
}

fn of(territory: u8) -> Audience {
    Audience::Outlet {
        territory: TerritoryId::from_bytes([territory; 16]),
        distributor: DistributorId::from_bytes([9; 16]),
    }
}

fn display(number: u32) -> Record {
    Record::Display(Display { number, name: "D".into(), description: String::new() })
}

/// Sequences in the records' names, page by page, of what somebody sees from the beginning on.
fn pages(db: &Connection, audiences: &[AudienceId]) -> Vec<Vec<u64>> {
    let log = Reader::open(db, 1).unwrap();
    let (mut since, mut pages) = (0, Vec::new());
    loop {
        let page =
            log.page(&Range { since, until: None, audiences, device: DEVICE, own: None }).unwrap();
        assert!(page.cursor.sequence > since || pages.is_empty());
        since = page.cursor.sequence;
        let numbers = page.records.iter().map(|bytes| match from_cbor(&bytes.0).unwrap() {
            Record::Display(display) => u64::from(display.number),
            _ => 0,
        });
        pages.push(numbers.collect());
        if !page.more {
            assert_eq!(Some(page.cursor), head(db, 1).ok());
            return pages;
        }
    }
}

#[test]
fn pages_are_cut_the_same_however_far_apart_their_lines_are() {
    let mut db = database();
    let tx = db.transaction().unwrap();
    let mut ledger = begin(&tx);
    // Of 20,000 lines every fourth is of the second audience, and three far apart are of the third.
    let audience_of = |number: u32| match number {
        9_500 | 17_000 | 19_999 => 3,
        number if number.is_multiple_of(4) => 2,
        _ => 1,
    };
    for number in 1..=20_000 {
        ledger.append_record(&display(number), &of(audience_of(number)), [0; 16], 0).unwrap();
    }
    let ids = [1, 2, 3].map(|n| ledger.audience(&of(n)).unwrap());
    ledger.close().unwrap();
    tx.commit().unwrap();

    for (seen, lengths) in [
        (&[1, 2, 3][..], &[3_999, 4_000, 4_000, 4_000, 4_000, 1][..]),
        (&[2, 3][..], &[3_999, 1_002][..]),
        (&[3][..], &[3][..]),
    ] {
        let audiences: Vec<AudienceId> = seen.iter().map(|n| ids[*n as usize - 1]).collect();
        let pages = pages(&db, &audiences);
        let wanted = |number: &u64| seen.contains(&audience_of(*number as u32));
        let all: Vec<u64> = (1..=20_000).filter(wanted).collect();
        assert_eq!(pages.concat(), all);
        let found: Vec<usize> = pages.iter().map(Vec::len).collect();
        assert_eq!(found, lengths, "{seen:?}");
    }
}

fn say(ledger: &mut Ledger<'_>, outlet: OutletId, n: usize, audience: AudienceId) {
    let (document, device) = (DocId::volume(outlet, 0), DEVICE);
    let (basis, clamped) = (ClaimBasis::WallClock, false);
    let times = CaptureTime { earliest_ms: 0, latest_ms: 0, claimed_ms: 0, basis, clamped };
    let (actor, section) = (Actor::new(&[5; 32], [6; 8]), Section::Thread);
    let (deps, value) = (Vec::new(), Vec::new());
    let parts = Parts { actor, seq: 1, start_op: 1, deps, section, value };
    let change = Change::kept(ChangeHash(LogHash::of(&n.to_be_bytes()).0), parts);
    let leaf = Leaf::Change { document, change: change.hash(), device, received_ms: 0 };
    let (change, times) = (&change, &times);
    let line = Line::Change { document, change, device, seal: None, times, age_ms: None, notes: 0 };
    ledger.append(&leaf, 0, audience, line).unwrap();
}

#[test]
fn of_long_histories_that_came_a_page_brings_whole_ones_and_no_more_than_it_holds() {
    let mut db = database();
    let tx = db.transaction().unwrap();
    let mut ledger = begin(&tx);
    let [left, entered] = [1, 2].map(|n| ledger.audience(&of(n)).unwrap());
    let outlets = [1, 2, 3, 4, 5, 6].map(|n| OutletId::from_bytes([n; 16]));
    (0..9_000).for_each(|n| say(&mut ledger, outlets[n / 1_500], n, left));
    let since = ledger.size();
    outlets.iter().for_each(|outlet| ledger.move_history(*outlet, &of(2)).unwrap());
    ledger.append_record(&display(1), &of(2), [0; 16], 0).unwrap();
    ledger.close().unwrap();
    tx.commit().unwrap();

    let log = Reader::open(&db, 1).unwrap();
    let page = log
        .page(&Range { since, until: None, audiences: &[entered], device: DEVICE, own: None })
        .unwrap();
    let lengths: Vec<usize> = page.groups.iter().map(|group| group.changes.len()).collect();
    assert_eq!((page.records.len(), page.more, lengths), (1, false, vec![1_500; 3]));
}

#[test]
fn what_came_is_in_the_page_in_which_it_came_or_goes_on_and_in_no_other() {
    let mut db = database();
    let tx = db.transaction().unwrap();
    let mut ledger = begin(&tx);
    let [left, entered] = [1, 2].map(|n| ledger.audience(&of(n)).unwrap());
    let outlets = [1, 2].map(|n| OutletId::from_bytes([n; 16]));
    (0..20).for_each(|n| say(&mut ledger, outlets[n / 10], n, left));
    ledger.close().unwrap();
    let since = head(&tx, 1).unwrap().sequence;
    let mut ledger = Ledger::open(&tx, 1).unwrap();
    for number in 1..=9_000 {
        ledger.append_record(&display(number), &of(2), [0; 16], 0).unwrap();
        if number == 5_000 {
            say(&mut ledger, outlets[1], 20, left);
        }
    }
    outlets.iter().for_each(|outlet| ledger.move_history(*outlet, &of(2)).unwrap());
    ledger.append_record(&display(9_001), &of(2), [0; 16], 0).unwrap();
    ledger.close().unwrap();
    tx.commit().unwrap();

    let log = Reader::open(&db, 1).unwrap();
    let (mut at, mut sent) = (since, Vec::new());
    loop {
        let range =
            Range { since: at, until: None, audiences: &[entered], device: DEVICE, own: None };
        let page = log.page(&range).unwrap();
        sent.push(page.groups.iter().map(|group| group.changes.len()).collect::<Vec<_>>());
        at = page.cursor.sequence;
        if !page.more {
            break;
        }
    }
    assert_eq!(sent, [vec![], vec![11], vec![10, 11]]);
}
