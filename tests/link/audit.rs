//! What must hold after every kill, and more when all has come to rest.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use endcap_mobile::{Client, Visit};
use rusqlite::{Connection, OpenFlags};

/// What was said, by whom it was said.
#[derive(Debug, Default)]
pub(crate) struct Said {
    /// The phone's visits.
    pub(crate) visits: BTreeSet<String>,
    /// The phone's recordings, with the visit of each.
    pub(crate) saved: BTreeMap<String, String>,
    /// The phone's photos.
    pub(crate) photos: BTreeSet<String>,
    /// How often it submitted.
    pub(crate) submitted: usize,
    /// A colleague's recordings that the server has confirmed to them, with the visit of each.
    pub(crate) others: BTreeMap<String, String>,
    /// Versions of the planogram, with the log's length after each.
    pub(crate) planograms: BTreeMap<u64, u32>,
}

impl Said {
    /// Takes a line of the phone's process.
    pub(crate) fn hear(&mut self, line: &str) {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["began", visit] => drop(self.visits.insert(visit.into())),
            ["saved", visit, recording] => {
                let twice = self.saved.insert(recording.into(), visit.into());
                assert_eq!(twice, None, "{recording} was said twice");
            }
            ["photo", hash] => drop(self.photos.insert(hash.into())),
            ["submitted", _] => self.submitted += 1,
            ["synced", refused, "refused"] => assert_eq!(refused, "0", "honest work is refused"),
            ["cut", ..] => {}
            _ => panic!("{line}"),
        }
    }
}

/// The server's database as its file is now.
pub(crate) struct Books {
    db: Connection,
}

impl Books {
    pub(crate) fn open(data: &Path) -> Self {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE; // a log that was not closed is to be read too
        let db = Connection::open_with_flags(data.join("endcap.db"), flags).expect("it opens");
        Self { db }
    }

    pub(crate) fn count(&self, what: &str) -> u64 {
        let sql = format!("SELECT count(*) FROM {what}");
        self.db.query_row(&sql, [], |row| row.get(0)).expect("a count")
    }

    /// How long the log is.
    pub(crate) fn length(&self) -> u64 {
        self.count("log")
    }

    /// Each change by its name, with where in the log it is.
    fn changes(&self) -> BTreeMap<String, Vec<u64>> {
        let mut query = self
            .db
            .prepare("SELECT lower(hex(hash)), sequence FROM log WHERE hash IS NOT NULL")
            .expect("a query");
        let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("rows");
        let mut changes: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for row in rows {
            let (hash, sequence) = row.expect("a row");
            changes.entry(hash).or_default().push(sequence);
        }
        changes
    }

    /// The photos that are here.
    pub(crate) fn photos(&self) -> BTreeSet<String> {
        let mut query = self.db.prepare("SELECT lower(hex(hash)) FROM blob").expect("a query");
        let rows = query.query_map([], |row| row.get(0)).expect("rows");
        rows.collect::<Result<_, _>>().expect("text")
    }
}

/// Where in the log a phone is.
fn cursor(phone: &Client) -> u64 {
    let report = phone.diagnostics().expect("it reads");
    let report: serde_json::Value = serde_json::from_str(&report).expect("JSON");
    report["sequence"].as_u64().expect("it has synced")
}

/// The books, while phone and server stand still after a kill. What is not confirmed may be on its way.
pub(crate) fn after_a_kill(books: &Books, phone: &Client, said: &Said) {
    let changes = books.changes();
    let twice: Vec<_> = changes.iter().filter(|(_, lines)| lines.len() > 1).collect();
    assert!(twice.is_empty(), "in the log more than once: {twice:?}");
    assert_eq!(books.count("quarantine"), 0, "honest work is refused");
    assert_eq!(books.count("device WHERE forked > 0"), 0, "nobody was copied");

    // What was saved is on the phone, and what the phone takes for confirmed is in the log.
    let mut own = BTreeSet::new();
    let visits = said.visits.iter().chain(said.saved.values()).collect::<BTreeSet<_>>();
    for id in visits {
        let visit = phone.visit(id.clone()).expect("a visit that was saved is there");
        for recording in visit.recordings.iter().filter(|recording| recording.own) {
            own.insert(recording.id.clone());
            let logged = changes.contains_key(&recording.id);
            assert!(logged || !recording.confirmed, "{} is not in the log", recording.id);
        }
    }
    let gone: Vec<_> = said.saved.keys().filter(|saved| !own.contains(*saved)).collect();
    assert!(gone.is_empty(), "saved, and not on the phone: {gone:?}");
    for hash in &said.photos {
        let photo = phone.photo(hash.clone()).expect("photos read");
        assert!(photo.is_some(), "the photo {hash} was saved");
    }
    let invented: Vec<_> = books.photos().difference(&said.photos).cloned().collect();
    assert!(invented.is_empty(), "photos of nobody: {invented:?}");

    // A page came whole with its cursor, or not at all.
    let cursor = cursor(phone);
    for (recording, visit) in &said.others {
        let here = phone.visit(visit.clone()).is_ok_and(|visit| {
            visit.recordings.iter().any(|r| r.id == *recording && !r.own && r.confirmed)
        });
        let line = changes.get(recording).expect("what was confirmed is in the log")[0];
        assert_eq!(here, line < cursor, "{recording} is line {line}, the phone is at {cursor}");
    }
    let known = said.planograms.range(..=cursor).next_back().map_or(1, |(_, version)| *version);
    let planogram = phone.planogram(1).expect("it is here");
    assert_eq!(planogram.version, known, "the phone is at {cursor}: {:?}", said.planograms);
}

/// A visit as everyone must see it.
fn seen(phone: &Client, id: &str) -> (Vec<String>, String, Vec<String>) {
    let Visit { recordings, values, status, .. } = phone.visit(id.into()).expect("it is here");
    let recordings = recordings
        .iter()
        .map(|r| format!("{} {} {:?} {} {}", r.id, r.act, r.photos, r.withdrawn, r.submitted));
    let values = values.iter().map(|held| {
        let said = held.said.iter().map(|said| format!("{} {:?}", said.recording, said.value));
        format!("{} {:?} {:?}", held.check, held.subject, said.collect::<Vec<_>>())
    });
    (recordings.collect(), status, values.collect())
}

/// All has come to rest: the phone, its colleague's, a fresh one and the server agree, and nothing waits.
pub(crate) fn at_rest(
    books: &Books,
    phone: &Client,
    colleague: &Client,
    fresh: &Client,
    said: &Said,
) {
    after_a_kill(books, phone, said);
    let changes = books.changes();
    for saved in said.saved.keys().chain(said.others.keys()) {
        assert!(changes.contains_key(saved), "{saved} is not in the log");
    }
    for phone in [phone, fresh, colleague] {
        let outstanding = phone.outstanding().expect("it reads");
        assert!(outstanding.documents.is_empty() && outstanding.photos == 0);
    }
    let visits: BTreeSet<&String> =
        said.visits.iter().chain(said.saved.values()).chain(said.others.values()).collect();
    let (mut photos, mut recordings) = (BTreeSet::new(), BTreeSet::new());
    for id in visits {
        let visit = seen(phone, id);
        assert_eq!(visit, seen(fresh, id), "a fresh phone sees something else");
        if said.others.values().any(|shared| shared == id) {
            assert_eq!(visit, seen(colleague, id), "a colleague sees something else");
        }
        for recording in phone.visit(id.clone()).expect("it is here").recordings {
            photos.extend(recording.photos);
            recordings.insert(recording.id);
        }
    }
    let submitted = changes.keys().filter(|change| !recordings.contains(*change)).count();
    assert!(submitted >= said.submitted, "{submitted} submissions, {} were said", said.submitted);
    assert_eq!(books.photos(), photos, "photos that are attached, and no others");
    assert_eq!(books.count("upload"), 0, "no upload is open");
    assert_eq!(phone.planogram(1).expect("it is here"), fresh.planogram(1).expect("it is here"));
}
