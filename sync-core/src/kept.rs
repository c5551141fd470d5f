//! What a device is, and a document as it keeps it: with what the server has not confirmed yet, and why it was refused.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::convert::Infallible;
use std::ops::Range;

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

use crate::cbor::{from_cbor, to_cbor};
use crate::document::{Change, Document, Entry, Parts, Size};
use crate::evidence::{Cursor, Seal};
use crate::id::{
    Actor, BlobHash, ChangeHash, DeviceId, DocId, DocKind, LogHash, OrgId, OutletId, UserId,
};
use crate::model::capture::Moment;
use crate::model::people::Audience;
use crate::model::visit::PhotoRef;
use crate::print::Print;
use crate::receipt::Watch;
use crate::visit::Start;
use crate::wire::{Filled, Outcome};

/// Colleagues who are remembered to carry one document's work.
pub const GIVEN_MAX: usize = 16;

/// Who a device is, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Profile {
    /// For which organisation it is enrolled.
    #[n(0)]
    pub org: OrgId,
    /// For which person.
    #[n(1)]
    pub user: UserId,
    /// As which device.
    #[n(2)]
    pub device: DeviceId,
    /// Its public key.
    #[n(3)]
    #[cbor(with = "minicbor::bytes")]
    pub key: [u8; 32],
    /// As which actor this store writes.
    #[n(4)]
    pub actor: Actor,
    /// Where it stands in the organisation's log.
    #[n(5)]
    pub cursor: Option<Cursor>,
    /// The name of its newest push.
    #[n(6)]
    pub pushed: Option<LogHash>,
    /// When it last heard from the server.
    #[n(7)]
    pub witness: Option<Witness>,
    /// How far it has been given what came into its sight.
    #[n(8)]
    pub filled: Option<Filled>,
    /// Something may have gone out of its sight and still be here.
    #[n(9)]
    pub narrowed: Option<bool>,
    /// The print of what it holds; `None` while that is not known and must be counted.
    #[n(10)]
    pub held: Option<Held>,
    /// How many things a repair has mended so far.
    #[n(11)]
    pub mended: Option<u64>,
    /// The keys that it had before.
    #[n(12)]
    pub former: Option<Vec<FormerKey>>,
    /// What it knows of the organisation's log.
    #[n(13)]
    pub watch: Option<Watch>,
    /// How many lines of the log it knew before a pull of which pages are still to come: a page leaves out what a later one
    /// has a newer version of.
    #[n(14)]
    pub whole: Option<u64>,
}

/// The print of what a device holds of what the server shows it, brought along with every write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Held {
    /// The sum.
    #[n(0)]
    pub print: Print,
    /// When it was last counted from what is there, by the server's clock as the device knows it, in
    /// milliseconds since 1970 UTC.
    #[n(1)]
    pub counted_ms: i64,
}

/// A public key that a device no longer signs with.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct FormerKey(
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub [u8; 32],
);

/// The server's time, as a device heard it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Witness {
    /// The server's clock, in milliseconds since 1970 UTC.
    #[n(0)]
    pub server_ms: i64,
    /// The boot in which it was heard.
    #[n(1)]
    pub boot: u32,
    /// The boot clock then.
    #[n(2)]
    pub boot_ms: u64,
}

/// A device's clocks as the shell reads them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clocks {
    /// The wall clock, in milliseconds since 1970 UTC, however wrong.
    pub wall_ms: i64,
    /// Names the boot.
    pub boot: u32,
    /// Milliseconds since that boot, counted through suspend.
    pub boot_ms: u64,
}

impl Profile {
    /// A device as enrolment leaves it. `instance` is drawn by chance.
    pub fn enrolled(
        org: OrgId,
        user: UserId,
        device: DeviceId,
        key: [u8; 32],
        instance: [u8; 8],
    ) -> Self {
        Self {
            org,
            user,
            device,
            key,
            actor: Actor::new(&key, instance),
            cursor: None,
            pushed: None,
            witness: None,
            filled: None,
            narrowed: None,
            held: None,
            mended: None,
            former: None,
            watch: None,
            whole: None,
        }
    }

    /// Whether this device writes or wrote as an actor.
    pub fn owns(&self, actor: Actor) -> bool {
        let mut former = self.former.iter().flatten();
        actor.belongs_to(&self.key) || former.any(|former| actor.belongs_to(&former.0))
    }

    /// The server's time now, as well as the device can know it: the wall clock where it knows nothing.
    pub fn server_ms(&self, clocks: &Clocks) -> i64 {
        clocks.wall_ms.saturating_add(self.skew_ms(clocks).unwrap_or(0))
    }

    fn skew_ms(&self, clocks: &Clocks) -> Option<i64> {
        let witness = self.witness.filter(|w| w.boot == clocks.boot)?;
        let since = clocks.boot_ms.checked_sub(witness.boot_ms)?;
        let server_ms = witness.server_ms.saturating_add(i64::try_from(since).ok()?);
        Some(server_ms.saturating_sub(clocks.wall_ms))
    }

    /// The moment of an entry that is written now.
    pub fn moment(&self, clocks: &Clocks) -> Moment {
        // Who begins anew knows what it has known.
        let cursor = self.cursor.map(|cursor| (cursor.origin, cursor.sequence));
        let watched = || self.watch.as_ref()?.kept().map(|kept| (kept.life, kept.size));
        let known = cursor.or_else(watched);
        Moment {
            wall_ms: clocks.wall_ms,
            boot: clocks.boot,
            boot_ms: clocks.boot_ms,
            anchor: known.map_or(0, |(_, sequence)| cursor.and(self.whole).unwrap_or(sequence)),
            skew_ms: self.skew_ms(clocks),
            life: known.map(|(origin, _)| origin.life()),
        }
    }

    pub(crate) fn heard(&mut self, server_ms: i64, clocks: &Clocks) {
        let Clocks { boot, boot_ms, .. } = *clocks;
        self.witness = Some(Witness { server_ms, boot, boot_ms });
    }
}

/// A document on a device, with what the server has not confirmed yet.
#[derive(Debug, Clone)]
pub struct Kept {
    /// The document.
    pub document: Document,
    /// The seals that came with other people's changes.
    pub seals: Vec<Seal>,
    /// The changes that the server has not confirmed: this device's own and, after a server has lost part of
    /// its log, others'.
    pub pending: Vec<ChangeHash>,
    /// Why the server refused the pending changes, if it did.
    pub refused: Option<Refused>,
    /// Which of them a server had refused that has lost part of its log since: what it had accepted does not wait for them.
    pub doubted: Vec<ChangeHash>,
    /// Its outlet went out of sight.
    pub gone: bool,
    /// The server has changes of it that had no place here.
    pub behind: bool,
    /// Which, as far as that was written down.
    pub passed: BTreeSet<ChangeHash>,
    /// The server does not show it: nothing of it counts as held.
    pub aside: bool,
    /// The server does not show it, so all of it was sent again; once that is confirmed, it goes, unless it is a visit
    /// that was begun here: who is at work in one keeps it for as long as they may see the place where it was begun.
    pub astray: bool,
    /// What counted of it when it was read from the store.
    pub(crate) counted: Print,
    /// Which of the pending changes colleagues carry to the server.
    pub given: Vec<Given>,
}

/// Changes that a colleague's device has taken along and will bring to the server.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Given {
    /// Which device.
    #[n(0)]
    pub device: DeviceId,
    /// The changes.
    #[n(1)]
    pub changes: Vec<ChangeHash>,
}

/// Why the server refused a document's pending changes.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Refused {
    /// A stable name.
    #[n(0)]
    pub code: String,
    /// In words.
    #[n(1)]
    pub detail: String,
    /// All that is pending was brought to the server, which keeps apart what it has refused of it.
    #[n(2)]
    pub apart: Option<bool>,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct KeptBytes {
    #[n(0)]
    changes: Vec<(ChangeHash, Parts)>,
    #[n(1)]
    seals: Vec<Seal>,
    #[n(2)]
    pending: Vec<ChangeHash>,
    #[n(3)]
    refused: Option<Refused>,
    #[n(4)]
    gone: Option<bool>,
    #[n(5)]
    behind: Option<bool>,
    #[n(6)]
    passed: Option<Vec<ChangeHash>>,
    #[n(7)]
    aside: Option<bool>,
    #[n(8)]
    given: Option<Vec<Given>>,
    #[n(9)]
    astray: Option<bool>,
    #[n(10)]
    doubted: Option<Vec<ChangeHash>>,
    /// One mark for each page that holds what is not here.
    #[n(20)]
    marks: Option<ByteVec>,
    /// What is pending, where pages hold the changes: runs of places, each the first and how many.
    #[n(21)]
    runs: Option<Vec<(usize, usize)>>,
}

/// Changes, and seals, of one page.
const PAGE_ITEMS: usize = 32;
const MARK_BYTES: usize = 8;

/// A document as a store keeps it, so that a capture costs what it writes: a head that is written each time, and
/// pages of changes and seals, of which only those that differ are.
#[derive(Debug)]
pub struct Rows {
    /// The head.
    pub head: Vec<u8>,
    /// The pages to be written, by number.
    pub pages: Vec<(u16, Vec<u8>)>,
    /// The pages that go.
    pub dropped: Range<u16>,
}

impl Rows {
    /// How many pages belong to a head.
    pub fn pages_of(head: &[u8]) -> u16 {
        u16::try_from(marks(head).len()).unwrap_or(u16::MAX)
    }
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct Page {
    #[n(0)]
    changes: Vec<(ChangeHash, Parts)>,
    #[n(1)]
    seals: Vec<Seal>,
}

impl KeptBytes {
    /// A head with what its pages hold; `None` for rows that do not belong together.
    fn whole<E>(
        head: &[u8],
        mut page: impl FnMut(u16) -> Result<Option<Vec<u8>>, E>,
    ) -> Result<Option<Self>, E> {
        let Ok(mut whole) = from_cbor::<Self>(head) else { return Ok(None) };
        let marks = whole.marks.take().map_or_else(Vec::new, Vec::from);
        for (number, said) in (0..).zip(marks.chunks(MARK_BYTES)) {
            let Some(bytes) = page(number)? else { return Ok(None) };
            let Ok(Page { changes, seals }) = from_cbor(&bytes) else { return Ok(None) };
            if mark(changes.iter().map(|(hash, _)| *hash), &seals) != said {
                return Ok(None);
            }
            whole.changes.extend(changes);
            whole.seals.extend(seals);
        }
        for (first, length) in whole.runs.take().into_iter().flatten() {
            let run = whole.changes.iter().skip(first).take(length);
            whole.pending.extend(run.map(|(hash, _)| *hash));
        }
        Ok(Some(whole))
    }
}

/// Names what a page holds.
fn mark(changes: impl Iterator<Item = ChangeHash>, seals: &[Seal]) -> [u8; MARK_BYTES] {
    let mut named = Vec::with_capacity(PAGE_ITEMS * 128);
    changes.for_each(|hash| named.extend(hash.0));
    for seal in seals {
        named.extend(seal.head.0);
        named.extend(seal.signature);
    }
    let mut mark = [0; MARK_BYTES];
    mark.copy_from_slice(&BlobHash::of(&named).0[..MARK_BYTES]);
    mark
}

/// The marks of the pages that a head says there are.
fn marks(head: &[u8]) -> Vec<[u8; MARK_BYTES]> {
    let marks = from_cbor::<KeptBytes>(head).ok().and_then(|head| head.marks);
    marks.map_or_else(Vec::new, |marks| marks.as_chunks().0.to_vec())
}

fn print(
    here: impl Iterator<Item = ChangeHash>,
    pending: &[ChangeHash],
    passed: impl Iterator<Item = ChangeHash>,
    aside: bool,
) -> Print {
    if aside {
        return Print::default();
    }
    let pending: HashSet<ChangeHash> = pending.iter().copied().collect();
    let here = here.filter(|hash| !pending.contains(hash));
    here.chain(passed).map(Print::of_change).sum()
}

impl Kept {
    /// A document that nobody has written to.
    pub fn new(org: OrgId, id: DocId) -> Self {
        let document = Document::new(org, id);
        Self {
            document,
            seals: Vec::new(),
            pending: Vec::new(),
            refused: None,
            doubted: Vec::new(),
            gone: false,
            behind: false,
            passed: BTreeSet::new(),
            aside: false,
            astray: false,
            counted: Print::default(),
            given: Vec::new(),
        }
    }

    /// Which volume of which outlet's history it is, if it is one.
    pub fn volume(&self) -> Option<(OutletId, u32)> {
        self.document.volume()
    }

    /// The outlet that it is about, if that reads.
    pub(crate) fn outlet(&self) -> Option<OutletId> {
        match self.document.id().kind {
            DocKind::Visit => Start::all(&self.document).next().map(|start| start.outlet),
            DocKind::Outlet => self.volume().map(|(outlet, _)| outlet),
        }
    }

    fn head(&self) -> KeptBytes {
        KeptBytes {
            changes: Vec::new(),
            seals: Vec::new(),
            pending: self.pending.clone(),
            refused: self.refused.clone(),
            doubted: Some(self.still(&self.doubted)).filter(|doubted| !doubted.is_empty()),
            gone: self.gone.then_some(true),
            behind: self.behind.then_some(true),
            passed: (!self.passed.is_empty()).then(|| self.passed.iter().copied().collect()),
            aside: self.aside.then_some(true),
            astray: self.astray.then_some(true),
            given: Some(self.still_given()).filter(|given| !given.is_empty()),
            marks: None,
            runs: None,
        }
    }

    /// In one piece.
    pub fn to_bytes(&self) -> Vec<u8> {
        let changes = self.document.changes().iter();
        let changes = changes.map(|c| (c.hash(), Parts::clone(c))).collect();
        to_cbor(&KeptBytes { changes, seals: self.seals.clone(), ..self.head() })
    }

    /// From one piece; `None` for bytes that are not a kept document.
    pub fn from_bytes(org: OrgId, id: DocId, bytes: &[u8]) -> Option<Self> {
        let Ok(kept) = Self::from_rows(org, id, bytes, |_| Ok::<_, Infallible>(None));
        kept
    }

    /// What a store has to write, which has this head of it if any.
    pub fn rows(&self, before: Option<&[u8]>) -> Rows {
        let old = before.map_or_else(Vec::new, marks);
        let (changes, seals) = (self.document.changes(), &self.seals);
        let (mut pages, mut all) = (Vec::new(), Vec::new());
        for number in 0..changes.len().max(seals.len()).div_ceil(PAGE_ITEMS) {
            let items = changes.iter().skip(number * PAGE_ITEMS).take(PAGE_ITEMS);
            let seals = seals.iter().skip(number * PAGE_ITEMS).take(PAGE_ITEMS);
            let seals: Vec<Seal> = seals.cloned().collect();
            let mark = mark(items.clone().map(Change::hash), &seals);
            all.extend(mark);
            if old.get(number) != Some(&mark) {
                let changes = items.map(|c| (c.hash(), Parts::clone(c))).collect();
                let page = to_cbor(&Page { changes, seals });
                pages.push((u16::try_from(number).unwrap_or(u16::MAX), page));
            }
        }
        let mut head = self.head();
        head.runs = self.runs();
        if head.runs.is_some() {
            head.pending.clear();
        }
        let now = all.len() / MARK_BYTES;
        head.marks = Some(all.into());
        let number = |n: usize| u16::try_from(n).unwrap_or(u16::MAX);
        Rows {
            head: to_cbor(&head),
            pages,
            dropped: number(now)..number(old.len()).max(number(now)),
        }
    }

    /// What is pending, as runs of places in the document.
    fn runs(&self) -> Option<Vec<(usize, usize)>> {
        let mut runs: Vec<(usize, usize)> = Vec::new();
        for hash in &self.pending {
            let place = self.document.place(*hash)?;
            match runs.last_mut() {
                Some((first, length)) if *first + *length == place => *length += 1,
                _ => runs.push((place, 1)),
            }
        }
        Some(runs)
    }

    /// From a store's rows, the head and what `page` finds; `None` for rows that are not a kept document.
    pub fn from_rows<E>(
        org: OrgId,
        id: DocId,
        head: &[u8],
        page: impl FnMut(u16) -> Result<Option<Vec<u8>>, E>,
    ) -> Result<Option<Self>, E> {
        let Some(read) = KeptBytes::whole(head, page)? else { return Ok(None) };
        let mut document = Document::new(org, id);
        for (hash, parts) in read.changes {
            if document.insert(Change::kept(hash, parts)).is_err() {
                return Ok(None);
            }
        }
        let mut kept = Self {
            document,
            seals: read.seals,
            pending: read.pending,
            refused: read.refused,
            doubted: read.doubted.unwrap_or_default(),
            gone: read.gone == Some(true),
            behind: read.behind == Some(true),
            passed: read.passed.into_iter().flatten().collect(),
            aside: read.aside == Some(true),
            astray: read.astray == Some(true),
            counted: Print::default(),
            given: read.given.unwrap_or_default(),
        };
        kept.counted = kept.print();
        Ok(Some(kept))
    }

    /// What is left of a document whose rows do not read: what fits of the pages that do. This device's own may be
    /// unconfirmed and is sent again; the rest the server has.
    pub fn salvaged(
        profile: &Profile,
        id: DocId,
        pages: impl IntoIterator<Item = Vec<u8>>,
    ) -> Self {
        let mut kept = Self::new(profile.org, id);
        for bytes in pages {
            let Ok(Page { changes, seals }) = from_cbor(&bytes) else { continue };
            for (hash, parts) in changes {
                // What builds on a page that does not read has no place until a repair has brought that.
                let own = profile.owns(parts.actor);
                if kept.document.insert(Change::kept(hash, parts)).is_ok() && own {
                    kept.pending.push(hash);
                }
            }
            kept.seals.extend(seals);
        }
        kept
    }

    /// The print of what counts of it as held: what the server has confirmed or sent, also what had no place here.
    pub fn print(&self) -> Print {
        let here = self.document.changes().iter().map(Change::hash);
        print(here, &self.pending, self.passed.iter().copied(), self.aside)
    }

    /// The same of a document as a store's rows keep it, without building it; `None` for other rows.
    pub fn print_of<E>(
        head: &[u8],
        page: impl FnMut(u16) -> Result<Option<Vec<u8>>, E>,
    ) -> Result<Option<Print>, E> {
        let Some(read) = KeptBytes::whole(head, page)? else { return Ok(None) };
        let here = read.changes.iter().map(|(hash, _)| *hash);
        let passed = read.passed.into_iter().flatten();
        Ok(Some(print(here, &read.pending, passed, read.aside == Some(true))))
    }

    /// What colleagues carry of what still waits.
    fn still_given(&self) -> Vec<Given> {
        let given = self.given.iter();
        let given = given.map(|Given { device, changes }| Given {
            device: *device,
            changes: self.still(changes),
        });
        given.filter(|given| !given.changes.is_empty()).collect()
    }

    /// Which of these are pending.
    fn still(&self, changes: &[ChangeHash]) -> Vec<ChangeHash> {
        if changes.is_empty() {
            return Vec::new();
        }
        let pending: HashSet<&ChangeHash> = self.pending.iter().collect();
        changes.iter().filter(|hash| pending.contains(hash)).copied().collect()
    }

    /// A colleague's device has taken these changes along.
    pub(crate) fn give(&mut self, device: DeviceId, changes: Vec<ChangeHash>) {
        self.given.retain(|given| given.device != device);
        // The newest say enough; the list must not grow with everyone who is met.
        self.given.truncate(GIVEN_MAX - 1);
        self.given.insert(0, Given { device, changes });
    }

    /// Who may see it, as far as the document itself says: more than one audience where its outlet moved while
    /// people began it.
    pub fn audiences(&self) -> Vec<Audience> {
        match self.document.id().kind {
            DocKind::Visit => Start::all(&self.document).map(|start| start.audience()).collect(),
            DocKind::Outlet => {
                let entries = self.document.changes().iter().filter_map(|c| c.entry().ok());
                let mut reports = entries.filter_map(|entry| match entry {
                    Entry::Report(report) => Some(report.audience()),
                    _ => None,
                });
                reports.next().into_iter().collect()
            }
        }
    }

    /// The notes that its entries name.
    pub fn notes(&self) -> Vec<BlobHash> {
        let entries = self.document.changes().iter().filter_map(|c| c.entry().ok());
        entries.flat_map(|entry| entry.notes()).collect()
    }

    /// The photos that its entries name.
    pub fn photos(&self) -> Vec<BlobHash> {
        let entries = self.document.changes().iter().filter_map(|c| c.entry().ok());
        entries.flat_map(|e| e.photos().iter().map(|p| p.hash).collect::<Vec<_>>()).collect()
    }

    /// The notes and photos that its entries name.
    pub(crate) fn names(&self) -> Vec<BlobHash> {
        let mut names = self.notes();
        names.extend(self.photos());
        names
    }

    /// The photos that this device's own entries name.
    pub fn own_photos(&self, profile: &Profile) -> Vec<PhotoRef> {
        let own = self.document.changes().iter().filter(|change| profile.owns(change.actor));
        let entries = own.filter_map(|change| change.entry().ok());
        entries.flat_map(|entry| entry.photos().to_vec()).collect()
    }

    /// Whether it is a visit that was begun on this device.
    pub(crate) fn begun_here(&self, profile: &Profile) -> bool {
        let own = |start: Start| {
            let change = self.document.change(start.hash);
            change.is_some_and(|change| profile.owns(change.actor))
        };
        Start::all(&self.document).any(own)
    }

    /// What of it the server has confirmed, of what is limited.
    pub fn confirmed_size(&self) -> Size {
        let pending: HashSet<ChangeHash> = self.pending.iter().copied().collect();
        let changes = self.document.changes();
        self.document.size_of(|place| !pending.contains(&changes[place].hash()))
    }

    /// The document as the server has confirmed it.
    pub fn confirmed(&self) -> Self {
        let mut left = Self::new(self.document.org(), self.document.id());
        let pending: HashSet<ChangeHash> = self.pending.iter().copied().collect();
        (left.gone, left.behind) = (self.gone, self.behind);
        (left.aside, left.astray) = (self.aside, self.astray);
        (left.passed, left.counted) = (self.passed.clone(), self.counted);
        let changes = self.document.changes().iter();
        for change in changes.filter(|change| !pending.contains(&change.hash())) {
            if left.document.insert(change.clone()).is_err() {
                left.pass_over(change.hash());
            }
        }
        left.seals = self.seals.clone();
        left
    }

    /// The changes that the server has not confirmed, each after its parents.
    pub(crate) fn waiting(&self) -> Vec<Change> {
        let pending: HashSet<ChangeHash> = self.pending.iter().copied().collect();
        let changes = self.document.changes().iter();
        changes.filter(|change| pending.contains(&change.hash())).cloned().collect()
    }

    /// What others have written here and the server has neither confirmed nor keeps apart, each after its parents.
    pub(crate) fn theirs(&self, profile: &Profile) -> Vec<Change> {
        if self.is_apart() {
            return Vec::new();
        }
        let mut waiting = self.waiting();
        waiting.retain(|change| !profile.owns(change.actor));
        waiting
    }

    /// Whether the server keeps apart what it has refused here.
    pub(crate) fn is_apart(&self) -> bool {
        self.refused.as_ref().is_some_and(|refused| refused.apart == Some(true))
    }

    /// Takes up what [`Kept::theirs`] said, as far as it builds on nothing that is not here any more.
    pub(crate) fn keep_theirs(&mut self, theirs: Vec<Change>) {
        for change in theirs {
            let hash = change.hash();
            if self.document.insert(change).is_ok() {
                self.pending.push(hash);
            }
        }
    }

    /// Whether within these changes others' seals reach each of theirs.
    pub(crate) fn is_sealed(&self, changes: &[Change], profile: &Profile) -> bool {
        let inside: HashMap<ChangeHash, &Change> = changes.iter().map(|c| (c.hash(), c)).collect();
        let (mut sealed, mut seen) = (HashSet::new(), HashSet::new());
        for seal in &self.seals {
            let Some(signer) = inside.get(&seal.head).map(|c| c.actor.device()) else { continue };
            let mut open = vec![seal.head];
            while let Some(hash) = open.pop() {
                if let Some(change) = inside.get(&hash).filter(|_| seen.insert((signer, hash))) {
                    if change.actor.device() == signer {
                        sealed.insert(hash);
                    }
                    open.extend(&change.deps);
                }
            }
        }
        changes.iter().all(|c| c.actor.belongs_to(&profile.key) || sealed.contains(&c.hash()))
    }

    /// The server has this change, and so all that it builds on.
    pub(crate) fn confirm(&mut self, head: ChangeHash) {
        let past = self.document.past(&[head]);
        self.pending.retain(|hash| !past.contains(*hash));
        if self.pending.is_empty() {
            self.refused = None;
        }
    }

    /// The server may have lost any of it, and judges all of it again together with what it has lost: of two copies that
    /// went their own ways it may have neither.
    pub(crate) fn unconfirm(&mut self) {
        if self.refused.take().is_some() {
            self.doubted = std::mem::take(&mut self.pending);
        }
        self.pending = self.document.changes().iter().map(Change::hash).collect();
        self.forget_passed();
    }

    /// The server has this, and it has no place here.
    pub(crate) fn pass_over(&mut self, hash: ChangeHash) {
        self.behind = true;
        self.passed.insert(hash);
    }

    /// It is read anew from the beginning: what has no place here will show again.
    pub(crate) fn forget_passed(&mut self) {
        self.behind = false;
        self.passed.clear();
    }

    /// The confirmed change of another actor that says what this one says: the same person at the same moment.
    pub fn said_before(&self, change: &Change) -> Option<ChangeHash> {
        let entry = change.entry().ok()?;
        let mut said = self.document.said_at(&entry, |actor| actor != change.actor);
        said.find(|hash| !self.pending.contains(hash))
    }

    /// Whether all that waits here is in the record already, as it was sent first.
    pub(crate) fn said_again(&self, profile: &Profile) -> bool {
        let waits = |hash: &ChangeHash| {
            let change = self.document.change(*hash);
            change.is_some_and(|c| profile.owns(c.actor) && self.said_before(c).is_some())
        };
        self.refused.as_ref().is_some_and(|refused| refused.code == Outcome::SAID_ALREADY)
            && self.pending.iter().all(waits)
    }

    /// Whether the server still has to hear of something here.
    pub fn to_push(&self) -> bool {
        !self.pending.is_empty() && self.refused.is_none()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::evidence::Keypair;
    use crate::model::visit::Post;

    const ORG: OrgId = OrgId::from_bytes([1; 16]);

    fn moment() -> Moment {
        Moment { wall_ms: 0, boot: 0, boot_ms: 0, anchor: 0, skew_ms: None, life: None }
    }

    fn writes(kept: &mut Kept, changes: usize) {
        let keypair = Keypair::from_seed(&[1; 32]);
        let actor = Actor::new(&keypair.public(), [0; 8]);
        for _ in 0..changes {
            let by = UserId::from_bytes([2; 16]);
            let post = Post::new(by, moment(), BlobHash([0; 32]));
            let change = kept.document.next(actor, &Entry::Post(post)).unwrap();
            kept.pending.push(change.hash());
            kept.document.insert(change).unwrap();
        }
    }

    /// A store of one document.
    #[derive(Clone, Default)]
    struct Shelf {
        head: Option<Vec<u8>>,
        pages: BTreeMap<u16, Vec<u8>>,
    }

    impl Shelf {
        /// Which pages were written and which went.
        fn put(&mut self, kept: &Kept) -> (Vec<u16>, Range<u16>) {
            let Rows { head, pages, dropped } = kept.rows(self.head.as_deref());
            let written = pages.iter().map(|(number, _)| *number).collect();
            self.pages.extend(pages);
            dropped.clone().for_each(|number| drop(self.pages.remove(&number)));
            assert_eq!(usize::from(Rows::pages_of(&head)), self.pages.len());
            self.head = Some(head);
            (written, dropped)
        }

        fn get(&self, id: DocId) -> Option<Kept> {
            let page = |number| Ok::<_, Infallible>(self.pages.get(&number).cloned());
            let Ok(kept) = Kept::from_rows(ORG, id, self.head.as_ref()?, page);
            kept
        }
    }

    #[test]
    fn a_capture_writes_what_is_new_and_all_of_it_comes_back() {
        let id = DocId { kind: DocKind::Outlet, id: [3; 16] };
        let (mut kept, mut shelf) = (Kept::new(ORG, id), Shelf::default());
        let same = |shelf: &Shelf, kept: &Kept| {
            assert_eq!(shelf.get(id).map(|kept| kept.to_bytes()), Some(kept.to_bytes()));
        };
        assert_eq!(shelf.put(&kept), (vec![], 0..0));
        same(&shelf, &kept);
        writes(&mut kept, 70);
        assert_eq!(shelf.put(&kept), (vec![0, 1, 2], 3..3));
        same(&shelf, &kept);
        for page in [2, 2, 3] {
            writes(&mut kept, 13);
            assert_eq!(shelf.put(&kept).0, [page]);
            same(&shelf, &kept);
        }
        assert!(shelf.head.as_ref().is_some_and(|head| head.len() < 80), "a head is small");
        // Nothing but the head changes where nothing but it does; a seal changes the page that it is in.
        kept.pending.remove(50);
        kept.pending.swap(3, 90);
        (kept.gone, kept.behind) = (true, true);
        assert_eq!(shelf.put(&kept), (vec![], 4..4));
        same(&shelf, &kept);
        let head = kept.document.changes()[100].hash();
        kept.seals.push(Keypair::from_seed(&[1; 32]).seal(ORG, id, head));
        assert_eq!(shelf.put(&kept), (vec![0], 4..4));
        same(&shelf, &kept);
        // What is dropped from its midst moves the rest.
        let left = kept.confirmed();
        assert_eq!(left.document.changes().len(), 1 - usize::from(left.behind));
        assert_eq!(shelf.put(&left), (vec![0], 1..4));
        same(&shelf, &left);
    }

    #[test]
    fn a_row_of_an_earlier_library_is_read_and_becomes_pages() {
        let id = DocId { kind: DocKind::Outlet, id: [3; 16] };
        let mut kept = Kept::new(ORG, id);
        writes(&mut kept, 40);
        let mut shelf = Shelf { head: Some(kept.to_bytes()), ..Shelf::default() };
        assert_eq!(shelf.get(id).map(|kept| kept.to_bytes()), Some(kept.to_bytes()));
        assert_eq!(shelf.put(&kept), (vec![0, 1], 2..2));
        assert_eq!(shelf.get(id).map(|kept| kept.to_bytes()), Some(kept.to_bytes()));
    }

    #[test]
    fn pages_that_are_not_what_was_written_are_no_document() {
        let id = DocId { kind: DocKind::Outlet, id: [3; 16] };
        let (mut kept, mut shelf) = (Kept::new(ORG, id), Shelf::default());
        writes(&mut kept, 40);
        shelf.put(&kept);
        let older = shelf.pages[&1].clone();
        writes(&mut kept, 40);
        shelf.put(&kept);
        assert!(shelf.get(id).is_some());
        let with = |edit: &dyn Fn(&mut Shelf)| {
            let mut shelf = shelf.clone();
            edit(&mut shelf);
            shelf.get(id).is_some()
        };
        assert!(!with(&|shelf| drop(shelf.pages.remove(&2))));
        assert!(!with(&|shelf| drop(shelf.pages.insert(1, older.clone()))));
        assert!(!with(&|shelf| drop(shelf.pages.insert(1, shelf.pages[&0].clone()))));
        assert!(!with(&|shelf| drop(shelf.pages.insert(1, b"no page".to_vec()))));
        assert!(!with(&|shelf| shelf.head = Some(b"no head".to_vec())));
        assert!(
            Kept::from_bytes(ORG, id, shelf.head.as_ref().unwrap()).is_none(),
            "not in one piece"
        );
    }
}
