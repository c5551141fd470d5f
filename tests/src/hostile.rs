//! An enrolled phone that means harm: it speaks the protocol, and says with it what no honest phone says.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::params;
use sync_core::cargo::{Cargo, Load, Parcel};
use sync_core::document::{Change, Entry, Parts};
use sync_core::evidence::{Keypair, Seal};
use sync_core::id::{Actor, ChangeHash, DeviceId, DocId, UserId, VisitId};
use sync_core::model::capture::Moment;
use sync_core::model::catalogue::{Person, Record};
use sync_core::model::people::{Role, Scope};
use sync_core::model::visit::{Note, Post};
use sync_core::wire::{
    CargoRequest, Delivery, Group, Outcome, PROTOCOL, ParcelBytes, PushRequest, from_wire,
};

use crate::backend::{Crash, Refused, Server, encode};
use crate::brand::{self, ORG};
use crate::chance::Chance;
use crate::fuzz::admission::Edit;
use crate::oracle::Oracle;

/// Most groups of a flood.
const FLOOD: u64 = 40;

/// Who means harm.
const MALLORY: UserId = UserId::from_bytes([0x66; 16]);

/// Mallory's phone.
pub struct Hostile {
    id: DeviceId,
    keypair: Keypair,
    actor: Actor,
}

/// What a change that a hostile phone sent may be called.
const CODES: [&str; 19] = [
    "missing_parent",
    "forked",
    "full",
    "malformed",
    "unreadable",
    "invalid",
    "foreign_actor",
    "foreign_person",
    "no_right",
    "out_of_scope",
    "unknown",
    "wrong_start",
    "not_in_past",
    "late",
    "revoked_device",
    "bad_seal",
    "missing_note",
    "said_already", // as another actor of hers
    "quarantine_full",
];

impl Hostile {
    /// Enrols Mallory, who has a rep's rights, and may have been elsewhere before.
    pub fn enrol(server: &mut Server, now_ms: i64, chance: &mut Chance) -> Self {
        place(server, chance.index(3) as u8, now_ms);
        place(server, chance.index(3) as u8, now_ms);
        let (id, keypair) =
            (DeviceId::from_bytes(chance.bytes()), Keypair::from_seed(&chance.bytes()));
        server.enrol(id, MALLORY, keypair.public(), now_ms);
        let known = server.head().sequence;
        let acked = "UPDATE device SET acked = ?2 WHERE device = ?1";
        server.db.execute(acked, params![id.as_bytes(), known]).expect("as at an enrolment");
        let actor = Actor::new(&keypair.public(), chance.bytes());
        Self { id, keypair, actor }
    }

    /// Whether a restored server has forgotten it.
    pub fn known(&self, server: &Server) -> bool {
        server.trusts(self.id)
    }

    /// Does harm once; says what it tried. Whatever that is, the server goes on, gives a reason, and takes nothing in
    /// the name of somebody who has not signed it.
    pub fn attack(
        &mut self,
        server: &mut Server,
        oracle: &Oracle,
        now_ms: i64,
        chance: &mut Chance,
    ) -> String {
        if chance.percent(15) {
            let territory = [0, 1, 2, 2][chance.index(4)];
            place(server, territory, now_ms);
        }
        let before = changes(server);
        let said = match chance.below(8) {
            0..2 => self.push(server, now_ms, chance, Self::mutants),
            2 => self.push(server, now_ms, chance, Self::elsewhere),
            3 => self.push(server, now_ms, chance, Self::gap_and_clash),
            4 => self.push(server, now_ms, chance, Self::flood),
            5 => self.forged_parcel(server, now_ms, chance),
            6 => self.replay(server, oracle, now_ms, chance),
            _ => self.noise(server, oracle, now_ms, chance),
        };
        for (document, hash) in changes(server).difference(&before) {
            let held = server.held(*document);
            let change = held.document.change(*hash).expect("it is in the log");
            let own = change.actor.belongs_to(&self.keypair.public());
            // Brought by Mallory, and signed by its author: what a courier may do.
            assert!(own || oracle.knows(*document, *hash), "{said}: {hash} of {document}");
        }
        said
    }

    /// The next thing that Mallory would say in a document, if she were honest.
    fn post(&self, server: &Server, id: DocId, now_ms: i64, note: &Note) -> Option<Parts> {
        let when =
            Moment { wall_ms: now_ms, boot: 0, boot_ms: 0, anchor: 0, skew_ms: None, life: None };
        let text = note.digest();
        let entry = Entry::Post(Post::new(MALLORY, when, text));
        let change = server.held(id).document.next(self.actor, &entry).ok()?;
        Some(Parts::clone(&change))
    }

    fn push(
        &self,
        server: &mut Server,
        now_ms: i64,
        chance: &mut Chance,
        groups: impl Fn(&Self, &Server, i64, &Note, &mut Chance) -> Vec<Group>,
    ) -> String {
        let note = Note::new("mine now", chance.bytes()).expect("a note");
        let groups = groups(self, server, now_ms, &note, chance);
        let now =
            Moment { wall_ms: now_ms, boot: 0, boot_ms: 0, anchor: 0, skew_ms: None, life: None };
        let notes = if chance.percent(80) { vec![note] } else { Vec::new() };
        let push = PushRequest { protocol: PROTOCOL, now, previous: None, groups, notes };
        self.send(server, &encode(&push), now_ms)
    }

    fn send(&self, server: &mut Server, bytes: &[u8], now_ms: i64) -> String {
        let reply = server.push(self.id, bytes, now_ms, Crash::Never);
        match &reply {
            Ok(reply) => {
                for outcome in &reply.outcomes {
                    let Outcome::Quarantined { code, .. } = outcome else { continue };
                    assert!(CODES.contains(&code.as_str()), "{code}");
                }
                format!("{:?}", reply.outcomes)
            }
            Err(Refused::Malformed(_) | Refused::Full) => {
                format!("{reply:?}")
            }
            Err(refused) => panic!("a hostile push: {refused:?}"),
        }
    }

    /// Changes with a few things wrong with them, some under others' actors, some with others' seals.
    fn mutants(
        &self,
        server: &Server,
        now_ms: i64,
        note: &Note,
        chance: &mut Chance,
    ) -> Vec<Group> {
        let mut groups = BTreeMap::new();
        let ids = server.documents();
        for _ in 0..1 + chance.below(3) {
            let Some(id) = chance.pick(&ids).copied() else { break };
            let held = server.held(id).document;
            let Some(mut parts) = self.post(server, id, now_ms, note) else { continue };
            if chance.percent(40) {
                let other = chance.pick(held.changes()).expect("it has a change");
                parts.actor = other.actor;
                if chance.percent(50) {
                    parts.seq = held.newest_of(other.actor).map_or(1, |newest| newest.seq + 1);
                }
            }
            for _ in 0..chance.below(3) {
                let edit = Edit { what: chance.bits() as u8, by: chance.bits() as u8 };
                edit.apply(&mut parts, 0, std::slice::from_ref(&held));
            }
            parts.deps.sort_unstable();
            let Ok(change) = Change::new(id.kind, parts) else { continue };
            let mut group = self.sealed(id, vec![change]);
            if chance.percent(20) {
                // A signature that somebody has given for something else.
                group.seals[0].signature = Keypair::from_seed(&chance.bytes())
                    .seal(ORG, id, group.seals[0].head)
                    .signature;
            }
            groups.insert(id, group);
        }
        groups.into_values().collect()
    }

    /// A post in which nothing is wrong, wherever it is, that says to be from before anything was known.
    fn elsewhere(
        &self,
        server: &Server,
        now_ms: i64,
        note: &Note,
        chance: &mut Chance,
    ) -> Vec<Group> {
        let id = chance.pick(&server.documents()).copied();
        let parts = id.and_then(|id| self.post(server, id, now_ms, note));
        let change = id.zip(parts).and_then(|(id, parts)| Change::new(id.kind, parts).ok());
        id.zip(change).map(|(id, change)| self.sealed(id, vec![change])).into_iter().collect()
    }

    fn sealed(&self, document: DocId, changes: Vec<Change>) -> Group {
        let newest = changes.last().expect("a change").hash();
        let seals: Vec<Seal> = vec![self.keypair.seal(ORG, document, newest)];
        Group { document, changes, seals }
    }

    /// A change whose predecessor is kept back, or another one under a number that is taken.
    fn gap_and_clash(
        &self,
        server: &Server,
        now_ms: i64,
        note: &Note,
        chance: &mut Chance,
    ) -> Vec<Group> {
        let ids = server.documents();
        let Some(id) = chance.pick(&ids).copied() else { return Vec::new() };
        let Some(mut parts) = self.post(server, id, now_ms, note) else { return Vec::new() };
        match chance.percent(50) {
            true => {
                let Ok(before) = Change::new(id.kind, parts.clone()) else { return Vec::new() };
                (parts.seq, parts.start_op) = (parts.seq + 1, parts.start_op + 1);
                parts.deps = vec![before.hash()];
            }
            false => parts.seq = parts.seq.saturating_sub(1).max(1),
        }
        let change = Change::new(id.kind, parts);
        change.map_or_else(|_| Vec::new(), |change| vec![self.sealed(id, vec![change])])
    }

    /// Many documents that nobody has begun.
    fn flood(&self, server: &Server, now_ms: i64, note: &Note, chance: &mut Chance) -> Vec<Group> {
        let documents = (0..1 + chance.below(FLOOD)).map(|_| VisitId::from_bytes(chance.bytes()));
        let documents: BTreeSet<VisitId> = documents.collect();
        let posts = documents.into_iter().filter_map(|visit| {
            let id = DocId::from(visit);
            let change = Change::new(id.kind, self.post(server, id, now_ms, note)?).ok()?;
            Some(self.sealed(id, vec![change]))
        });
        posts.collect()
    }

    /// A parcel that says it is somebody else's.
    fn forged_parcel(&self, server: &mut Server, now_ms: i64, chance: &mut Chance) -> String {
        let note = Note::new("mine now", chance.bytes()).expect("a note");
        let Some(group) = self.mutants(server, now_ms, &note, chance).pop() else {
            return "nothing".into();
        };
        let mut devices: Vec<DeviceId> = server.world.devices.keys().copied().collect();
        devices.sort_unstable(); // they are in no order, and the story is to be told again
        let origin = match chance.percent(30) {
            true => self.id,
            false => *chance.pick(&devices).expect("there are phones"),
        };
        let cargo = Cargo { protocol: PROTOCOL, load: Load::Work(group, vec![note]) };
        let to = server.console.keypair.public();
        let parcel = Parcel::seal(ORG, origin, &self.keypair, &to, &cargo).expect("it is short");
        let mut bytes = parcel.as_bytes().to_vec();
        if chance.percent(30) {
            let at = chance.index(bytes.len());
            bytes[at] ^= 1 << chance.below(8);
        }
        let request = CargoRequest { protocol: PROTOCOL, parcels: vec![ParcelBytes(bytes)] };
        let reply = server.cargo(self.id, &encode(&request), now_ms, Crash::Never);
        match reply {
            Ok(reply) => {
                for outcome in &reply.outcomes {
                    let as_herself = origin == self.id;
                    let bad = matches!(outcome, Delivery::Refused { .. });
                    assert!(as_herself || bad, "it was taken for {origin}'s: {outcome:?}");
                }
                format!("{:?}", reply.outcomes)
            }
            Err(refused @ Refused::Full) => format!("{refused:?}"),
            Err(refused) => panic!("hostile cargo: {refused:?}"),
        }
    }

    /// A push of somebody else, as it was heard on the way.
    fn replay(
        &self,
        server: &mut Server,
        oracle: &Oracle,
        now_ms: i64,
        chance: &mut Chance,
    ) -> String {
        let Some((_, bytes)) = chance.pick(&oracle.pushes) else { return "nothing".into() };
        let Ok(push) = from_wire::<PushRequest>(ORG, bytes) else { return "nothing".into() };
        let taken = |group: &Group| {
            group.hashes().all(|hash| server.times_logged(group.document, hash) == 1)
        };
        // What waits for a decision is its author's to bring.
        let groups = push.groups.into_iter().filter(taken).collect();
        self.send(server, &encode(&PushRequest { groups, ..push }), now_ms)
    }

    /// Bytes of a push that somebody has changed, or that are a question of another kind.
    fn noise(
        &self,
        server: &mut Server,
        oracle: &Oracle,
        now_ms: i64,
        chance: &mut Chance,
    ) -> String {
        let Some((_, bytes)) = chance.pick(&oracle.pushes) else { return "nothing".into() };
        let mut bytes = bytes.clone();
        for _ in 0..1 + chance.below(4) {
            let at = chance.index(bytes.len());
            bytes[at] = chance.bits() as u8;
        }
        let fine = |refused: Refused| match refused {
            Refused::Malformed(_) | Refused::CursorUnknown | Refused::Full => {}
            refused => panic!("noise: {refused:?}"),
        };
        server.pull(self.id, &bytes, now_ms).map_or_else(fine, drop);
        server.repair(self.id, &bytes, now_ms).map_or_else(fine, drop);
        server.cargo(self.id, &bytes, now_ms, Crash::Never).map_or_else(fine, drop);
        self.send(server, &bytes, now_ms)
    }
}

/// Puts Mallory at a territory.
fn place(server: &mut Server, territory: u8, now_ms: i64) {
    let scope = Scope::Territory(brand::territory(territory));
    let person =
        Person { id: MALLORY, name: "Mallory".into(), role: Role::Rep, scope, active: true };
    server.write(vec![Record::Person(person)], now_ms);
}

/// Every change in the log.
fn changes(server: &Server) -> BTreeSet<(DocId, ChangeHash)> {
    let documents = server.documents().into_iter();
    let held = documents.map(|id| (id, server.held(id).document));
    let changes = held.flat_map(|(id, document)| {
        let hashes: Vec<_> = document.changes().iter().map(|c| (id, c.hash())).collect();
        hashes
    });
    changes.collect()
}
