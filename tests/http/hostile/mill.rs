//! A valid push, mutated thousands of times: its bytes, and its parts.

use std::collections::BTreeSet;

use sync_core::client::{Batch, Replica, next_push};
use sync_core::command::Command;
use sync_core::document::{Change, Parts, Section};
use sync_core::id::{Actor, ChangeHash, DocId, VisitId};
use sync_core::wire::{Group, Outcome, PushRequest};
use tests::backend::{Crash, Refused, encode};
use tests::brand;
use tests::chance::Chance;
use tests::device::Crash as PhoneCrash;
use tests::oracle::is_sound;
use tests::world::World;

const RITA: usize = 0;
/// Mutants that one server has to bear before a fresh one takes over.
const MUTANTS: usize = 700;

/// A world where Rita has a rich push to send, and the push.
fn world() -> (World, PushRequest) {
    let mut world = World::new(11);
    for call in [0, 1] {
        world.act(RITA, PhoneCrash::Never, Command::StartCall(brand::call(call)));
    }
    world.come_to_rest();
    for _ in 0..12 {
        world.now_ms += 1_000;
        world.work(RITA);
    }
    let visit = VisitId::of_call(brand::ORG, brand::call(0));
    world.act(RITA, PhoneCrash::Never, Command::Submit(visit));
    let rita = &world.devices[RITA];
    let clocks = rita.clock.read(world.now_ms);
    let Ok(push) = next_push(&rita.disk, &rita.keypair, &clocks, &Batch::default());
    (world, push.expect("there is something to push"))
}

/// A server under fire, and what may ever get into its log.
struct Mill {
    world: World,
    valid: BTreeSet<ChangeHash>,
    before: u64,
    fired: usize,
    /// The phone signs mutants too, as its thief would: then the rules alone keep them out, and a mutant
    /// that breaks none of them is just another change.
    stolen: bool,
}

impl Mill {
    fn new(stolen: bool) -> (Self, PushRequest) {
        let (world, push) = world();
        let valid = push.groups.iter().flat_map(Group::hashes).collect();
        let before = world.server.head().sequence;
        (Self { world, valid, before, fired: 0, stolen }, push)
    }

    /// Sends a mutant. Whatever is accepted is, change for change, what Rita has signed.
    fn fire(&mut self, bytes: &[u8]) {
        self.fired += 1;
        if self.fired.is_multiple_of(MUTANTS) {
            is_sound(&self.world.server);
            *self = Self { fired: self.fired, ..Self::new(self.stolen).0 };
        }
        let (id, now_ms) = (self.world.devices[RITA].id, self.world.now_ms);
        let size = self.world.server.head().sequence;
        match self.world.server.push(id, bytes, now_ms, Crash::Never) {
            Ok(reply) => {
                let after = self.world.server.head().sequence;
                let accepted = reply.outcomes.contains(&Outcome::Accepted {});
                assert!(after == size || accepted, "written and not accepted");
                let few = after - self.before <= self.valid.len() as u64;
                assert!(few || self.stolen, "more than was ever valid");
            }
            Err(Refused::Malformed(_)) => assert_eq!(self.world.server.head().sequence, size),
            Err(refused) => panic!("{refused:?}"),
        }
    }

    /// The server is sound after all of that, and still takes the valid push.
    fn finish(mut self, push: &PushRequest) {
        is_sound(&self.world.server);
        if self.stolen {
            return;
        }
        let (id, now_ms) = (self.world.devices[RITA].id, self.world.now_ms);
        let reply = self.world.server.push(id, &encode(push), now_ms, Crash::Never);
        let reply = reply.expect("the valid push is taken");
        for (group, outcome) in push.groups.iter().zip(&reply.outcomes) {
            assert_eq!(*outcome, Outcome::Accepted {}, "{}", group.document);
            for hash in group.hashes() {
                assert_eq!(self.world.server.times_logged(group.document, hash), 1);
            }
        }
        let written = self.world.server.head().sequence - self.before;
        assert_eq!(written, self.valid.len() as u64);
    }
}

#[test]
fn every_cut_of_a_push() {
    let (mut mill, push) = Mill::new(false);
    let bytes = encode(&push);
    for end in 0..bytes.len() {
        mill.fire(&bytes[..end]);
    }
    mill.finish(&push);
}

#[test]
fn flipped_bits_of_a_push() {
    let (mut mill, push) = Mill::new(false);
    let bytes = encode(&push);
    let mut chance = Chance::new(3);
    for place in 0..bytes.len() {
        let mut mutant = bytes.clone();
        mutant[place] ^= 1 << chance.below(8);
        mill.fire(&mutant);
    }
    mill.finish(&push);
}

#[test]
fn bytes_taken_out_put_in_and_doubled() {
    let (mut mill, push) = Mill::new(false);
    let bytes = encode(&push);
    let mut chance = Chance::new(4);
    for _ in 0..2_000 {
        let mut mutant = bytes.clone();
        let (from, length) = (chance.index(bytes.len()), 1 + chance.index(40));
        let to = (from + length).min(bytes.len());
        match chance.below(4) {
            0 => drop(mutant.drain(from..to)),
            1 => drop(mutant.splice(from..from, bytes[from..to].iter().copied())),
            2 => mutant[from..to].reverse(),
            _ => mutant[from..to].iter_mut().for_each(|b| *b = chance.bits() as u8),
        }
        mill.fire(&mutant);
    }
    mill.finish(&push);
}

#[test]
fn parts_changed_and_encoded_again() {
    for stolen in [false, true] {
        let (mut mill, push) = Mill::new(stolen);
        let mut chance = Chance::new(5);
        for _ in 0..2_500 {
            let mut mutant = push.clone();
            for _ in 0..1 + chance.below(2) {
                mutate(&mut mutant, &mill, &mut chance);
            }
            mill.fire(&encode(&mutant));
        }
        mill.finish(&push);
    }
}

fn number(chance: &mut Chance, old: u64) -> u64 {
    let numbers = [0, 1, old.wrapping_add(1), old.wrapping_sub(1), 1 << 24, (1 << 24) + 1];
    let far = [u64::from(u32::MAX), i64::MAX as u64, u64::MAX, chance.bits()];
    *chance.pick(&[&numbers[..], &far[..]].concat()).expect("a number")
}

fn mutate(push: &mut PushRequest, mill: &Mill, chance: &mut Chance) {
    match chance.below(12) {
        0 => push.now.anchor = number(chance, push.now.anchor),
        1 => push.now.boot_ms = number(chance, push.now.boot_ms),
        2 => push.groups.truncate(chance.index(push.groups.len() + 1)),
        3 => {
            if let Some(group) = chance.pick(&push.groups).cloned() {
                push.groups.push(group);
            }
        }
        4 => {
            if !push.notes.is_empty() {
                let place = chance.index(push.notes.len());
                push.notes.remove(place);
            }
        }
        5 => push.notes.iter_mut().for_each(|note| note.text.push('x')),
        _ => {
            if !push.groups.is_empty() {
                let place = chance.index(push.groups.len());
                mutate_group(&mut push.groups[place], mill, chance);
            }
        }
    }
}

fn mutate_group(group: &mut Group, mill: &Mill, chance: &mut Chance) {
    let rita = &mill.world.devices[RITA];
    match chance.below(10) {
        0 => {
            let mut ids = mill.world.server.documents();
            ids.push(DocId::from(VisitId::from_bytes(chance.bytes())));
            group.document = *chance.pick(&ids).expect("a document");
        }
        1 => group.seals.clear(),
        2 => group.seals.iter_mut().for_each(|seal| seal.signature[chance.index(64)] ^= 1),
        3 => group.changes.reverse(),
        4 => group.changes.truncate(chance.index(group.changes.len() + 1)),
        5 => {
            if let Some(change) = chance.pick(&group.changes).cloned() {
                group.changes.push(change);
            }
        }
        _ if !group.changes.is_empty() => {
            let place = chance.index(group.changes.len());
            let mut parts = Parts::clone(&group.changes[place]);
            mutate_parts(&mut parts, mill, chance);
            let change = match Change::new(group.document.kind, parts.clone()) {
                Ok(change) => change,
                Err(_) => Change::kept(ChangeHash(chance.bytes()), parts),
            };
            group.changes[place] = change;
        }
        _ => {}
    }
    if mill.stolen
        && let Some(last) = group.changes.last()
    {
        group.seals = vec![rita.keypair.seal(brand::ORG, group.document, last.hash())];
    }
}

fn mutate_parts(parts: &mut Parts, mill: &Mill, chance: &mut Chance) {
    match chance.below(9) {
        0 => parts.seq = number(chance, parts.seq),
        1 => parts.start_op = number(chance, parts.start_op),
        2 => parts.deps.clear(),
        3 => parts.deps.push(ChangeHash(chance.bytes())),
        4 => parts.deps.reverse(),
        5 => {
            let valid: Vec<ChangeHash> = mill.valid.iter().copied().collect();
            parts.deps = vec![*chance.pick(&valid).expect("a change")];
        }
        6 => {
            let own = mill.world.devices[RITA].disk.profile().actor;
            let mut bytes = *own.as_bytes();
            bytes[chance.index(16)] ^= 1;
            parts.actor = Actor::from_bytes(bytes);
        }
        7 => {
            let sections = [
                Section::Recordings,
                Section::Submissions,
                Section::Reviews,
                Section::Thread,
                Section::Reports,
            ];
            parts.section = sections[chance.index(5)];
        }
        _ => {
            if !parts.value.is_empty() {
                let place = chance.index(parts.value.len());
                parts.value[place] = chance.bits() as u8;
            }
        }
    }
}
