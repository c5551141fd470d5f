//! Does a device hold what the server shows it? If not, it asks where they differ, part by part, and takes what it
//! lacks. What the server lacks is pushed.
//!
//! Sync alone keeps both sides the same; what is mended here was damaged, or went wrong by a bug.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use crate::cbor::from_cbor;
use crate::client::{
    BadAnswer, Clocks, Documents, Fault, Held, Kept, Profile, Refused, Replica, Write, check_seals,
    count, inventory, keys_with, merge,
};
use crate::document::Change;
use crate::id::ChangeHash;
use crate::model::catalogue::{Erased, Record, RecordKey};
use crate::print::{Content, Inventory, Item, Part, PrintName};
use crate::wire::{Group, Outcome, PARTS_MAX, PROTOCOL, RepairReply, RepairRequest, WANTED_MAX};

/// After this long what is held is counted anew: a row that the disk has lost changes no sum.
pub const COUNT_MS: i64 = 24 * 3_600_000;
/// Most parts that one repair asks after: enough for millions of things that are all lost.
const ASKED_MAX: usize = 1 << 20;

/// Whether the device holds what the server said with the last page; if not, how to repair that.
pub fn compare<R: Replica>(
    replica: &R,
    said: PrintName,
    clocks: &Clocks,
) -> Result<(Option<Repair>, Vec<Write>), R::Error> {
    let profile = replica.profile();
    let now_ms = profile.server_ms(clocks);
    let counted = profile.held.filter(|held| (0..COUNT_MS).contains(&(now_ms - held.counted_ms)));
    if counted.is_some_and(|held| held.print.name() == said) {
        return Ok((None, Vec::new()));
    }
    let (repair, writes) = begin(replica, clocks)?;
    let differs = repair.inventory.print().name() != said;
    Ok((differs.then_some(repair), writes))
}

/// Begins a repair: counts what is held.
pub fn begin<R: Replica>(replica: &R, clocks: &Clocks) -> Result<(Repair, Vec<Write>), R::Error> {
    let profile = replica.profile();
    let inventory = Arc::new(inventory(replica)?);
    let (print, counted_ms) = (inventory.print(), profile.server_ms(clocks));
    let held = Some(Held { print, counted_ms });
    let writes = vec![Write::Profile(Box::new(Profile { held, ..profile.clone() }))];
    let (wanted, astray) = (BTreeSet::new(), Vec::new());
    Ok((Repair { inventory, parts: vec![Part::WHOLE], asked: 0, wanted, astray }, writes))
}

/// A repair that goes on: lost with the process, and begun anew by the next sync.
#[derive(Debug, Clone)]
pub struct Repair {
    inventory: Arc<Inventory>,
    /// Parts that differ and were not asked after yet.
    parts: Vec<Part>,
    /// How many parts were asked after.
    asked: usize,
    /// What the server has and the device lacks, or has otherwise.
    wanted: BTreeSet<Item>,
    /// What the device has and the server does not show.
    astray: Vec<Item>,
}

impl Repair {
    /// The next question; `None` when all is mended.
    pub fn ask(&self) -> Option<RepairRequest> {
        let parts: Vec<Part> = self.parts.iter().take(PARTS_MAX).copied().collect();
        // First all that differs is found: the keys that documents are checked with are among it.
        let wanted = match parts.is_empty() {
            true => self.wanted.iter().take(WANTED_MAX).copied().collect(),
            false => Vec::new(),
        };
        let asks = !parts.is_empty() || !wanted.is_empty();
        asks.then_some(RepairRequest { protocol: PROTOCOL, parts, wanted })
    }

    /// What an answer to [`Repair::ask`] changes on the device, and how many things it has mended.
    pub fn apply<R: Replica>(
        &mut self,
        replica: &R,
        reply: &RepairReply,
    ) -> Result<(Vec<Write>, u64), Fault<R::Error>> {
        let unfit = |why: &str| Fault::Answer(BadAnswer::Unfit(why.into()));
        if reply.protocol != PROTOCOL {
            return Err(Fault::Answer(BadAnswer::Protocol(reply.protocol)));
        }
        let Some(asked) = self.ask() else { return Err(unfit("nothing was asked")) };
        let given = usize::try_from(reply.given).unwrap_or(usize::MAX);
        if reply.contents.len() != asked.parts.len() || given > asked.wanted.len() {
            return Err(unfit("it is not what a repair asked for"));
        }
        if given == 0 && !asked.wanted.is_empty() {
            return Err(unfit("a repair does not go on"));
        }
        self.parts.drain(..asked.parts.len());
        self.asked += asked.parts.len();
        if self.asked > ASKED_MAX {
            return Err(unfit("a repair does not end"));
        }
        for (part, content) in asked.parts.iter().zip(&reply.contents) {
            self.look(*part, content);
        }
        let mut documents = Documents::new(replica);
        let mut writes = Vec::new();
        let mut profile = replica.profile().clone();
        let mut mended = 0;
        if self.parts.is_empty() {
            for item in std::mem::take(&mut self.astray) {
                mended += 1;
                profile.narrowed = Some(true); // if it is out of sight, it goes
                match item {
                    Item::Record(key) => writes.push(Write::Forget(key)),
                    Item::Document(id) => {
                        if let Some(kept) = documents.get(id)? {
                            let forked = |refused: &Refused| refused.code == Outcome::FORKED;
                            if !kept.refused.as_ref().is_some_and(forked) {
                                send_again(kept, &HashSet::new());
                            }
                            (kept.aside, kept.astray) = (true, true);
                        }
                    }
                }
            }
        }
        let given: HashSet<Item> = asked.wanted[..given].iter().copied().collect();
        self.wanted.retain(|item| !given.contains(item));
        mended += given.len() as u64;
        let mut erased = HashSet::new();
        for bytes in &reply.records {
            let key = RecordKey::peek(&bytes.0).ok_or_else(|| unfit("a record has no key"))?;
            if let Ok(Record::Erased(Erased { digest: Some(digest), .. })) = from_cbor(&bytes.0) {
                erased.insert(digest);
                writes.push(Write::Erase(digest));
            }
            writes.push(Write::Record(key, bytes.clone()));
        }
        documents.need_no_words(&erased)?;
        if !reply.groups.is_empty() {
            let keys = keys_with(replica, &reply.records)?;
            for group in &reply.groups {
                if !given.contains(&Item::Document(group.document)) {
                    return Err(unfit("a repair brings what was not wanted"));
                }
                check_seals(profile.org, group, &keys)?;
                replace(documents.get_or_new(group.document)?, group);
            }
        }
        writes.extend(documents.into_writes());
        writes.extend(reply.notes.iter().cloned().map(Write::Note));
        count(replica, &mut profile, &writes)?;
        if mended > 0 {
            profile.mended = Some(profile.mended.unwrap_or(0) + mended);
        }
        writes.push(Write::Profile(Box::new(profile)));
        Ok((writes, mended))
    }

    /// What the server says of a part, beside what is here.
    fn look(&mut self, part: Part, content: &Content) {
        match content {
            Content::Parts(names) => {
                let differ = part.parts().zip(names);
                let differ =
                    differ.filter(|(p, name)| self.inventory.print_of(*p).name() != **name);
                self.parts.extend(differ.map(|(part, _)| part));
            }
            Content::Items(items) => {
                let theirs: HashMap<Item, PrintName> = items.iter().copied().collect();
                let ours: HashMap<Item, PrintName> =
                    self.inventory.items(part).map(|(i, print)| (i, print.name())).collect();
                let wanted = items.iter().filter(|(item, name)| ours.get(item) != Some(name));
                self.wanted.extend(wanted.map(|(item, _)| *item));
                let astray = ours.into_keys().filter(|item| !theirs.contains_key(item));
                let before = self.astray.len();
                self.astray.extend(astray);
                self.astray[before..].sort_unstable();
            }
        }
    }
}

/// All that the server does not have waits to be sent. What it had confirmed does not wait for what it has refused.
fn send_again(kept: &mut Kept, theirs: &HashSet<ChangeHash>) {
    let waited = std::mem::take(&mut kept.pending);
    kept.pending = kept.document.changes().iter().map(Change::hash).collect();
    kept.pending.retain(|hash| !theirs.contains(hash));
    let lost = kept.pending.iter().any(|hash| !waited.contains(hash));
    match kept.refused.as_mut() {
        // Which comes along now.
        Some(refused) if refused.code == Outcome::MISSING_PARENT => kept.refused = None,
        Some(refused) if lost && refused.code == Outcome::FORKED => refused.apart = None,
        Some(_) if lost => {
            kept.refused = None;
            kept.doubted = waited;
        }
        _ => {}
    }
}

/// Takes a document as the server has it. What is only here waits to be sent.
fn replace(kept: &mut Kept, group: &Group) {
    kept.forget_passed();
    let merged = merge(kept, group);
    send_again(kept, &group.hashes().collect());
    if let Err(misfit) = merged {
        let (code, detail) = (Outcome::FORKED.into(), misfit.to_string());
        kept.refused = Some(Refused { code, detail, apart: None });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Entry;
    use crate::evidence::Keypair;
    use crate::id::{Actor, BlobHash, DocId, DocKind, OrgId, UserId};
    use crate::model::capture::Moment;
    use crate::model::visit::Post;

    /// Three changes of one person, of which the server has refused the last.
    fn refused(code: &str) -> (Kept, Vec<ChangeHash>) {
        let (org, id) = (OrgId::from_bytes([1; 16]), [3; 16]);
        let mut kept = Kept::new(org, DocId { kind: DocKind::Outlet, id });
        let actor = Actor::new(&Keypair::from_seed(&[1; 32]).public(), [0; 8]);
        let when = Moment { wall_ms: 0, boot: 0, boot_ms: 0, anchor: 0, skew_ms: None, life: None };
        let (by, text) = (UserId::from_bytes([2; 16]), BlobHash([0; 32]));
        for _ in 0..3 {
            let post = Post::new(by, when, text);
            let change = kept.document.next(actor, &Entry::Post(post)).unwrap();
            kept.document.insert(change).unwrap();
        }
        let all: Vec<ChangeHash> = kept.document.changes().iter().map(Change::hash).collect();
        kept.pending = all[2..].to_vec();
        let (code, detail) = (code.to_owned(), String::new());
        kept.refused = Some(Refused { code, detail, apart: Some(true) });
        (kept, all)
    }

    #[test]
    fn what_a_server_has_lost_does_not_wait_for_what_it_has_refused() {
        let (mut kept, all) = refused("late");
        send_again(&mut kept, &all[..1].iter().copied().collect());
        assert_eq!((&kept.pending[..], kept.to_push()), (&all[1..], true));
        assert_eq!(kept.doubted, &all[2..]);
        // Nothing is lost: what is refused waits for its person.
        let (mut kept, all) = refused("late");
        send_again(&mut kept, &all[..2].iter().copied().collect());
        assert_eq!((&kept.pending[..], kept.to_push()), (&all[2..], false));
        assert!(kept.is_apart() && kept.doubted.is_empty());
        // What has no place in the record stays marked, and is not said to be kept elsewhere.
        let (mut kept, all) = refused(Outcome::FORKED);
        send_again(&mut kept, &all[..1].iter().copied().collect());
        assert!(kept.refused.is_some() && !kept.is_apart());
    }
}
