//! Who may write what, in small: each case is a log, a change that comes to it, and what becomes of that. The server's
//! own ingest decides; what a device decides by itself must not differ.

use std::collections::BTreeMap;

use rusqlite::params;
use serde_json::{Value as Json, json};
use sync_core::admit::{self, Author, about_rights, admit};
use sync_core::command::Command;
use sync_core::document::{Change, Document, Entry, Room};
use sync_core::evidence::{Keypair, Seal};
use sync_core::id::{Actor, ChangeHash, DeviceId, DocId, DocKind, LogOrigin, UserId};
use sync_core::model::catalogue::{Person, Record};
use sync_core::model::people::{Role, Scope};
use sync_core::wire::{Group, PROTOCOL, PullRequest, PushRequest};
use tests::backend::{Crash, Server, code, encode};
use tests::brand::{
    self, BEGIN_MS, ORG, RITA, SAM, SUE, SVEN, distributor, person_record, territory,
};
use tests::chance::Chance;
use tests::device::{self, Device};

use crate::story::{By, moment, words};
use crate::{allowed, golden, hex, named, parts_json};

/// A writer: a person, and the phone of theirs; 0 is the server.
#[derive(Clone, Copy)]
pub(crate) struct Who {
    pub(crate) phone: u8,
    pub(crate) user: UserId,
}

/// Manages distributor 1.
pub(crate) const MIA: UserId = UserId::from_bytes([5; 16]);
/// The administrator.
const ADA: UserId = UserId::from_bytes([6; 16]);
/// A supervisor with a phone.
const NOA: UserId = UserId::from_bytes([7; 16]);
pub(crate) const RITAS: Who = Who { phone: 0x21, user: RITA };
pub(crate) const RITAS_OTHER: Who = Who { phone: 0x31, user: RITA };
pub(crate) const SAMS: Who = Who { phone: 0x22, user: SAM };
pub(crate) const SVENS: Who = Who { phone: 0x23, user: SVEN };
pub(crate) const SVENS_OTHER: Who = Who { phone: 0x33, user: SVEN };
pub(crate) const MIAS: Who = Who { phone: 0x25, user: MIA };
pub(crate) const NOAS: Who = Who { phone: 0x27, user: NOA };
pub(crate) const SUE_THERE: Who = Who { phone: 0, user: SUE };
pub(crate) const ADA_THERE: Who = Who { phone: 0, user: ADA };
/// Nobody has enrolled it.
pub(crate) const STRANGER: Who = Who { phone: 0x66, user: RITA };
const PHONES: [Who; 7] = [RITAS, RITAS_OTHER, SAMS, SVENS, SVENS_OTHER, MIAS, NOAS];

fn keypair(who: Who) -> Keypair {
    Keypair::from_seed(&[who.phone; 32])
}

fn phone_of(who: Who) -> DeviceId {
    DeviceId::from_bytes([who.phone; 16])
}

pub(crate) fn person(id: UserId, role: Role, scope: Scope, active: bool) -> Record {
    Record::Person(Person { id, name: "Name".into(), role, scope, active })
}

/// A story on a server of its own.
pub(crate) struct Case {
    what: &'static str,
    server: Server,
    /// How long the log was when the story began.
    from: u64,
    /// What the next entry's author has heard of; the whole log if that is not said.
    pub(crate) anchor: Option<u64>,
    /// In another life of the log than today's.
    pub(crate) life: Option<u32>,
    step: usize,
}

impl Case {
    pub(crate) fn new(what: &'static str) -> Self {
        let mut server = Server::new(&mut Chance::new(8));
        let whole = Scope::Territory(territory(0));
        let more = vec![
            person(MIA, Role::DistributorManager, Scope::Distributor(distributor(1)), true),
            person(ADA, Role::Admin, whole, true),
            person(NOA, Role::Supervisor, whole, true),
        ];
        server.write(more, BEGIN_MS);
        for who in PHONES {
            server.enrol(phone_of(who), who.user, keypair(who).public(), BEGIN_MS);
        }
        let from = server.head().sequence;
        Self { what, server, from, anchor: None, life: None, step: 0 }
    }

    fn now_ms(&self) -> i64 {
        BEGIN_MS + 1_000 * self.step as i64
    }

    /// How long the log is.
    pub(crate) fn size(&self) -> u64 {
        self.server.head().sequence
    }

    pub(crate) fn life_now(&self) -> u32 {
        self.server.head().origin.life()
    }

    pub(crate) fn by(&mut self, user: UserId) -> By {
        self.step += 1;
        let life = self.life.unwrap_or_else(|| self.life_now());
        By(user, moment(self.step, self.anchor.unwrap_or_else(|| self.size()), Some(life)))
    }

    pub(crate) fn records(&mut self, records: Vec<Record>) {
        let now_ms = self.now_ms();
        self.server.write(records, now_ms);
    }

    pub(crate) fn revokes(&mut self, who: Who) {
        let now_ms = self.now_ms();
        self.server.withdraw(phone_of(who), now_ms);
    }

    /// The server comes back from a backup that was made now.
    pub(crate) fn restores(&mut self) {
        self.server = self.server.backup();
    }

    /// The phone has heard of all that is in the log, but for work that waits since it had heard of less.
    pub(crate) fn hears(&mut self, who: Who, waits: Option<u64>) {
        let cursor = Some(self.server.head());
        let pull = PullRequest { cursor, waits, ..PullRequest::BEGINNING };
        let now_ms = self.now_ms();
        // Who was let go hears that, which is as much.
        let _ = self.server.pull(phone_of(who), &encode(&pull), now_ms);
    }

    fn actor(&self, who: Who) -> Actor {
        match who.phone {
            0 => self.server.console.actor,
            number => Actor::new(&keypair(who).public(), [number; 8]),
        }
    }

    fn seal(&self, who: Who, id: DocId, head: ChangeHash) -> Seal {
        match who.phone {
            0 => self.server.console.keypair.seal(ORG, id, head),
            _ => keypair(who).seal(ORG, id, head),
        }
    }

    pub(crate) fn document(&self, id: DocId) -> Document {
        self.server.held(id).document
    }

    /// The change that somebody makes on top of all that is there.
    pub(crate) fn change(
        &mut self,
        who: Who,
        id: DocId,
        entry: impl FnOnce(By) -> Entry,
    ) -> Change {
        let entry = entry(self.by(who.user));
        self.document(id).next(self.actor(who), &entry).unwrap()
    }

    /// The change that somebody makes who has seen no more than these.
    pub(crate) fn change_on(
        &mut self,
        who: Who,
        id: DocId,
        heads: &[ChangeHash],
        entry: impl FnOnce(By) -> Entry,
    ) -> Change {
        let entry = entry(self.by(who.user));
        crate::story::on(&self.document(id), heads, self.actor(who), &entry)
    }

    /// Pushes somebody's changes, by their own phone if it may.
    fn push(&mut self, who: Who, id: DocId, changes: Vec<Change>) -> String {
        let brings = [who].into_iter().chain(PHONES).map(phone_of);
        let brings = brings.into_iter().find(|device| self.server.trusts(*device)).unwrap();
        let seals = vec![self.seal(who, id, changes.last().unwrap().hash())];
        let groups = vec![Group { document: id, changes, seals }];
        let By(_, now) = self.by(who.user);
        let (previous, notes) = (None, vec![words()]);
        let push = PushRequest { protocol: PROTOCOL, now, previous, groups, notes };
        let now_ms = self.now_ms();
        let reply = self.server.push(brings, &encode(&push), now_ms, Crash::Never).unwrap();
        code(&reply.outcomes[0]).to_owned()
    }

    /// What somebody writes, on top of all that is there.
    pub(crate) fn writes(
        &mut self,
        who: Who,
        id: DocId,
        entry: impl FnOnce(By) -> Entry,
    ) -> ChangeHash {
        let change = self.change(who, id, entry);
        self.adds(who, id, change)
    }

    pub(crate) fn adds(&mut self, who: Who, id: DocId, change: Change) -> ChangeHash {
        let hash = change.hash();
        assert_eq!(self.push(who, id, vec![change]), "accepted", "{}", self.what);
        hash
    }

    /// The same entry so many times, each on top of the one before.
    pub(crate) fn repeats(
        &mut self,
        who: Who,
        id: DocId,
        times: usize,
        entry: impl FnOnce(By) -> Entry,
    ) -> Vec<ChangeHash> {
        let entry = entry(self.by(who.user));
        let (mut document, mut changes) = (self.document(id), Vec::new());
        for _ in 0..times {
            let change = document.next(self.actor(who), &entry).unwrap();
            document.insert(change.clone()).unwrap();
            changes.push(change);
        }
        let hashes = changes.iter().map(Change::hash).collect();
        assert_eq!(self.push(who, id, changes), "accepted", "{}", self.what);
        hashes
    }

    /// What becomes of what somebody writes on top of all that is there.
    pub(crate) fn ends(
        mut self,
        expected: &str,
        who: Who,
        id: DocId,
        entry: impl FnOnce(By) -> Entry,
    ) -> Json {
        let change = self.change(who, id, entry);
        self.ends_with(expected, who, id, change)
    }

    /// What becomes of a change.
    pub(crate) fn ends_with(mut self, expected: &str, who: Who, id: DocId, change: Change) -> Json {
        let (log, what) = (self.lines(self.from), self.what);
        let alone = self.alone(id, &change);
        let found = self.push(who, id, vec![change.clone()]);
        assert_eq!(found, expected, "{what}");
        // By itself a device decides the same, but for what only the server knows: what was before.
        match (alone, &*found) {
            (_, "accepted") if self.anchor.is_some() => {}
            (alone, "late") => assert!(about_rights(alone), "{what}: {alone}"),
            (alone, found) => assert_eq!(alone, found, "{what}, on a device"),
        }
        json!({
            "what": what,
            "then": log,
            "document": named(id),
            "known": self.known(who),
            "change": parts_json(&change),
            "hash": hex(&change.hash().0),
            "code": found,
            "about_rights": about_rights(&found),
        })
    }

    /// How many lines the phone is known to have known.
    fn known(&self, who: Who) -> u64 {
        let mut query =
            self.server.db.prepare("SELECT acked FROM device WHERE device = ?1").unwrap();
        let mut rows = query.query([phone_of(who).as_bytes()]).unwrap();
        rows.next().unwrap().map_or(0, |row| row.get(0).unwrap())
    }

    /// What a device decides that knows the world as it is now.
    fn alone(&self, id: DocId, change: &Change) -> &'static str {
        let (world, held) = (&self.server.world, self.server.held(id));
        let device = world.device_of(change.actor);
        let server = device.is_some_and(|device| device.is_server());
        let room = if server { Room::Console } else { Room::Device };
        let entry = match admit::read(&held.document, change, room) {
            Ok(entry) => entry,
            Err(refusal) => return refusal.code(),
        };
        let mut standing = held.audience;
        if let Some(volume) = entry.volume() {
            let before = self.server.held(volume.predecessor());
            if let Err(refusal) = volume.follows(&before.document) {
                return refusal.code();
            }
            standing = standing.or(before.audience);
        }
        let outlet = admit::outlet_of(&held.document, &entry);
        let listed = outlet.and_then(|outlet| world.outlets.get(&outlet));
        standing = standing.or(listed.map(|outlet| outlet.audience()));
        let Some(device) = device else { return "foreign_actor" };
        if device.revoked {
            return "revoked_device";
        }
        let user = if server { entry.by() } else { device.user };
        let judged = match world.rights(user) {
            Some(rights) => {
                let author = Author { rights, key: device.key };
                admit(&author, world, &held.document, standing, change, &entry).map(drop)
            }
            // A device that was told so writes nothing.
            None => admit::holds(user, &device.key, &held.document, change, &entry)
                .and(Err(admit::Refusal::NoRight("let go"))),
        };
        judged.map_or_else(|refusal| refusal.code(), |()| "accepted")
    }

    /// The lines of the log from one on.
    fn lines(&self, from: u64) -> Vec<Json> {
        let mut query = self
            .server
            .db
            .prepare(
                "SELECT document, hash, log.body, record.body FROM log
                 LEFT JOIN record ON record.org = log.org AND record.sequence = log.sequence
                 WHERE log.sequence >= ?1 ORDER BY log.sequence",
            )
            .unwrap();
        type Row = (Option<Vec<u8>>, Option<[u8; 32]>, Option<Vec<u8>>);
        let rows =
            query.query_map(params![from], |row| Ok((row.get(0)?, row.get(1)?, row.get(3)?)));
        let rows: Vec<Row> = rows.unwrap().map(Result::unwrap).collect();
        let mut origins = self.origins().into_iter();
        let (mut lines, mut documents) = (Vec::<Json>::new(), BTreeMap::new());
        // The change before, of which more may follow that say the same.
        let mut last: Option<(DocId, Change)> = None;
        for (place, (document, hash, record)) in rows.into_iter().enumerate() {
            let (Some(document), Some(hash)) = (document, hash) else {
                last = None;
                lines.push(match record {
                    Some(record) => json!({ "record": hex(&record) }),
                    None => {
                        let (_, origin) = origins
                            .find(|(sequence, _)| *sequence == from + place as u64)
                            .expect("an origin");
                        json!({ "origin": hex(origin.as_bytes()) })
                    }
                });
                continue;
            };
            let (id, hash) = (DocId::from_bytes(&document).unwrap(), ChangeHash(hash));
            let document = documents.entry(id).or_insert_with(|| self.document(id));
            let change = document.change(hash).unwrap().clone();
            let more = last.as_ref().is_some_and(|(same, before)| {
                let (is, was) = (&change, before);
                *same == id
                    && is.deps == [was.hash()]
                    && is.actor == was.actor
                    && is.value == was.value
            });
            last = Some((id, change.clone()));
            if more {
                let line = lines.last_mut().unwrap();
                line["again"] = json!(line["again"].as_u64().unwrap_or(0) + 1);
            } else {
                lines.push(json!({
                    "document": named(id), "change": parts_json(&change), "hash": hex(&hash.0),
                }));
            }
        }
        lines
    }

    /// Where each life of the log begins, and what it is called.
    fn origins(&self) -> Vec<(u64, LogOrigin)> {
        let mut query = self
            .server
            .db
            .prepare("SELECT sequence, origin FROM origin ORDER BY sequence")
            .unwrap();
        let rows = query.query_map([], |row| Ok((row.get(0)?, LogOrigin::from_bytes(row.get(1)?))));
        rows.unwrap().map(Result::unwrap).collect()
    }
}

/// The parts of a change that is not as it should be.
pub(crate) fn wrong(
    kind: DocKind,
    change: &Change,
    parts: impl FnOnce(&mut sync_core::document::Parts),
) -> Change {
    crate::story::otherwise(kind, change, parts)
}

pub(crate) fn rights_now() -> Json {
    let world = Case::new("what is there from the beginning");
    json!({
        "organisation": hex(ORG.as_bytes()),
        "log": world.lines(0),
        "cases": allowed::cases(),
    })
}

#[test]
fn who_may_write_what() {
    golden("wire/rights.json", &rights_now());
}

/// A closed outlet is whose it was on a phone too.
#[test]
fn a_phone_says_something_of_a_closed_outlet() {
    let mut phone = Device::new(RITA, BEGIN_MS, &mut Chance::new(3));
    for record in brand::records().iter().chain([&closed(1)]) {
        phone.disk.put_record(record);
    }
    let says = Command::CommentOutlet { outlet: brand::outlet(1), text: words() };
    let done = phone.act(BEGIN_MS, device::Crash::Never, says).unwrap();
    assert_eq!(done.map(|(document, _)| document), Some(brand::outlet(1).into()));
}

pub(crate) fn let_go(id: UserId) -> Record {
    let scope = Scope::Territory(territory(1));
    person_record(id, scope, false)
}

/// An outlet of the brand, as it was on the first day, but closed.
pub(crate) fn closed(number: u8) -> Record {
    let (at, by) = (1 + (number - 1) / 2, 1 + (number - 1) % 2);
    match brand::outlet_record(number, at, by) {
        Record::Outlet(mut outlet) => {
            outlet.active = false;
            Record::Outlet(outlet)
        }
        other => other,
    }
}
