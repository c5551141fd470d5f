//! Is a data folder, or a backup, what it was when it was written? Every hash, signature and figure anew.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;

use sync_core::admit::begun;
use sync_core::cbor::{from_cbor, to_cbor};
use sync_core::document::{Change, Document, Entry, Parts};
use sync_core::evidence::{Frontier, Keypair, Leaf, Seal};
use sync_core::id::{BlobHash, ChangeHash, DeviceId, DocId, LogHash, OrgId, UserId, VisitId};
use sync_core::kpi::{Counts, Ratio, per_visit};
use sync_core::model::catalogue::Record;
use sync_core::print::Print;
use sync_core::tlog::{TILE_WIDTH, fold};
use sync_core::visit::{Start, Visit};
use sync_core::wire::{Group, Keys, Outcome, from_wire};

use crate::blobs::{Album, Flaw};
use crate::ingest::derived;
use crate::signals::field::{Known, of_visit};
use crate::store::StoreError;
use crate::store::archive;
use crate::store::archive::{Archive, ChangeRow, Figure, FigurePlace};
use crate::store::erasure::{Erasure, NAMELESS};
use crate::store::log::{Held, Org, Organisation};
use crate::store::quarantine::{Kept, photos};
use crate::store::tree::Says;
use crate::store::visits::{Named, PhotoRow};
use crate::world::World;

/// What was looked at, and what is wrong.
#[derive(Debug, Default)]
pub struct Report {
    /// The organisations.
    pub organisations: Vec<Checked>,
    /// How many photos are here.
    pub photos: u64,
    /// How many bytes they have.
    pub photo_bytes: u64,
    /// What is wrong.
    pub damage: Vec<Damage>,
}

/// An organisation that was looked at.
#[derive(Debug)]
pub struct Checked {
    /// What people call it.
    pub name: String,
    /// How many lines its log has.
    pub lines: u64,
    /// What was erased on request, the newest first.
    pub erasures: Vec<Erasure>,
    /// How many photos are gone because their time was over.
    pub retired: u64,
    /// How many photos are gone and wait for their files to be removed.
    pub unlinked: u64,
    /// How many uploads are not whole.
    pub uploads: u64,
}

/// Something that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// SQLite cannot read its own file.
    #[error("the database: {0}")]
    Database(String),
    /// One of an organisation's parts.
    #[error("{organisation}, {place}: {what}")]
    Part {
        /// Of which organisation.
        organisation: String,
        /// Where.
        place: Place,
        /// What is wrong there.
        what: String,
    },
    /// A photo.
    #[error("{organisation}, photo {hash}: {flaw}")]
    Photo {
        /// Of which organisation.
        organisation: String,
        /// Its local number.
        org: Org,
        /// Its name.
        id: OrgId,
        /// Which.
        hash: BlobHash,
        /// What is wrong with it.
        flaw: Flaw,
    },
}

/// Where in an organisation something is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A line of its log.
    Line(u64),
    /// A document.
    Document(DocId),
    /// The words of a comment or an answer.
    Note(BlobHash),
    /// Work that was refused.
    Refused {
        /// Its number.
        item: u64,
        /// On which document, if its row says that.
        document: Option<DocId>,
    },
    /// What is kept once for the organisation.
    Whole,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(sequence) => write!(f, "line {sequence} of the log"),
            Self::Document(document) => write!(f, "{document}"),
            Self::Note(digest) => write!(f, "note {digest}"),
            Self::Refused { item, document: Some(document) } => {
                write!(f, "refused work {item} on {document}")
            }
            Self::Refused { item, document: None } => write!(f, "refused work {item}"),
            Self::Whole => f.write_str("as a whole"),
        }
    }
}

/// What takes its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The database's file is copied.
    Copying,
    /// Lines of the log are checked.
    Lines,
    /// Photos are copied.
    Photos,
    /// Photos are read back.
    Reading,
}

/// Hears how far a stage is: so many of so many.
pub type Progress<'a> = &'a mut dyn FnMut(Stage, u64, u64);

impl Report {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.damage.is_empty()
    }

    /// What is wrong besides photos.
    pub fn torn(&self) -> bool {
        self.damage.iter().any(|damage| !matches!(damage, Damage::Photo { .. }))
    }

    /// The photos whose files are not them.
    pub fn lost_photos(&self) -> Vec<(Org, OrgId, BlobHash)> {
        let lost = self.damage.iter().filter_map(|damage| match damage {
            Damage::Photo { flaw: Flaw::Thumbnail | Flaw::Preview | Flaw::Remains, .. } => None,
            Damage::Photo { org, id, hash, .. } => Some((*org, *id, *hash)),
            _ => None,
        });
        lost.collect()
    }
}

/// Checks a database and the photos that it says are here.
pub fn check(
    archive: &Archive,
    album: &Album,
    progress: Progress<'_>,
) -> Result<Report, StoreError> {
    let mut report = Report::default();
    match check_all(archive, album, progress, &mut report) {
        // It does not even read: that is what was asked.
        Err(StoreError::Damaged(what) | StoreError::Failed(what)) => {
            report.damage.push(Damage::Database(what));
        }
        done => done?,
    }
    Ok(report)
}

fn check_all(
    archive: &Archive,
    album: &Album,
    progress: Progress<'_>,
    report: &mut Report,
) -> Result<(), StoreError> {
    let torn = archive.integrity()?;
    if !torn.is_empty() {
        report.damage.extend(torn.into_iter().map(Damage::Database));
        return Ok(());
    }
    let mut seen = 0;
    let (total, organisations) = (archive.steps()?, archive.organisations()?);
    for made in &organisations {
        let mut step = || {
            seen += 1;
            progress(Stage::Lines, seen, total);
        };
        let mut inspection = Inspection { archive, made, damage: &mut report.damage };
        let lines = inspection.log(&mut step)?;
        inspection.prints()?;
        inspection.notes()?;
        inspection.witnesses()?;
        let erasures = inspection.erasures()?;
        let archive::Standing { retired, unlinked, uploads, .. } = archive.standing(made.org)?;
        let name = made.name.clone();
        report.organisations.push(Checked { name, lines, erasures, retired, unlinked, uploads });
        if let Some(world) = inspection.world() {
            let mut keys = Keys::default();
            world.devices.values().for_each(|device| keys.insert(&device.key));
            inspection.documents(&world, &keys, &mut step)?;
            inspection.refused(&keys)?;
        }
    }
    let mut photos = Vec::new();
    for made in &organisations {
        photos.extend(archive.photos(made.org)?.into_iter().map(|photo| (made, photo)));
    }
    let damage = |made: &Organisation, hash, flaw| {
        let (organisation, org, id) = (made.name.clone(), made.org, made.id);
        Damage::Photo { organisation, org, id, hash, flaw }
    };
    for made in &organisations {
        for hash in archive.erased(made.org)? {
            if album.holds(made.id, hash)? {
                report.damage.push(damage(made, hash, Flaw::Remains));
            }
        }
    }
    for (done, (made, photo)) in (1..).zip(&photos) {
        if let Some(flaw) = album.flaw(made.id, photo)? {
            report.damage.push(damage(made, photo.hash, flaw));
        }
        report.photos += 1;
        report.photo_bytes += photo.bytes;
        progress(Stage::Reading, done, photos.len() as u64);
    }
    Ok(())
}

/// The roots of full tiles, level by level.
#[derive(Default)]
struct Tiles(Vec<Vec<LogHash>>);

impl Tiles {
    fn push(&mut self, leaf: LogHash) {
        let (mut level, mut hash) = (0, leaf);
        loop {
            if self.0.len() == level {
                self.0.push(Vec::new());
            }
            let row = &mut self.0[level];
            row.push(hash);
            if !row.len().is_multiple_of(TILE_WIDTH as usize) {
                return;
            }
            hash = fold(row[row.len() - TILE_WIDTH as usize..].to_vec());
            if level == 0 {
                row.clear(); // leaves are not asked for
            }
            level += 1;
        }
    }

    fn node(&self, level: u8, place: u64) -> Option<&LogHash> {
        let row = self.0.get(usize::from(level)).filter(|_| level > 0)?;
        row.get(usize::try_from(place).ok()?)
    }
}

/// One organisation under the eye.
struct Inspection<'a> {
    archive: &'a Archive,
    made: &'a Organisation,
    damage: &'a mut Vec<Damage>,
}

impl Inspection<'_> {
    fn found(&mut self, place: Place, what: impl Into<String>) {
        let organisation = self.made.name.clone();
        self.damage.push(Damage::Part { organisation, place, what: what.into() });
    }

    /// Every line against what it stands for, and the tree over them.
    fn log(&mut self, step: &mut impl FnMut()) -> Result<u64, StoreError> {
        let org = self.made.org;
        let standing = self.archive.standing(org)?;
        let (mut frontier, mut tiles) = (Frontier::default(), Tiles::default());
        let (mut wrong, mut split) = (Vec::new(), None);
        let (mut records, mut life, mut closed) = (0, Vec::new(), false);
        let erasures = self.archive.erasures(org)?;
        let (mut said, mut nameless, mut acts) = (BTreeMap::new(), Vec::new(), BTreeSet::new());
        self.archive.lines(org, |line| {
            step();
            let at = frontier.size();
            if line.sequence != at {
                wrong.push((line.sequence, "a line before it is missing"));
            }
            let says = line.says(frontier.root());
            if says.as_ref().is_none_or(|leaf| leaf.hash().0[..] != line.leaf[..]) {
                wrong.push((line.sequence, "what it stands for is not what its leaf says"));
            }
            let act = match &says {
                Some(Leaf::Decision { document, by, .. }) => {
                    Some((document.to_bytes().to_vec(), by))
                }
                Some(Leaf::Confirmation { device, by, .. }) => {
                    Some((device.as_bytes().to_vec(), by))
                }
                _ => None,
            };
            acts.extend(act.map(|(what, by)| (at, what, by.as_bytes().to_vec())));
            let leaf = line.leaf.as_slice().try_into().map_or(LogHash([0; 32]), LogHash);
            frontier.push(leaf);
            tiles.push(leaf);
            closed = line.root.is_some();
            // From the first root that differs on all do.
            if line.root.is_some_and(|root| root[..] != frontier.root().0[..]) && split.is_none() {
                split = Some(line.sequence);
            }
            match line.says {
                Says::Origin { origin, .. } => life = origin,
                Says::Record { body, digest, .. } => {
                    records += 1;
                    match from_cbor(&body) {
                        Ok(Record::Erased(erased)) => drop(said.insert(at, erased)),
                        Ok(Record::Person(person)) if digest.is_some() => {
                            nameless.push((at, person));
                        }
                        _ if digest.is_some() => wrong.push((at, "it was replaced by another")),
                        _ => {}
                    }
                }
                _ => {}
            }
        })?;
        for (at, person) in nameless {
            let asked = erasures.iter().any(|e| e.id == *person.id.as_bytes() && e.sequence > at);
            if !asked || person.name != NAMELESS {
                wrong.push((at, "a name in it is another, and nobody has asked for that"));
            }
        }
        for erasure in &erasures {
            let fits = said.get(&erasure.sequence).is_some_and(|erased| {
                erased.id == erasure.id
                    && erased.what == erasure.what
                    && erased.digest == erasure.digest
                    && erased.at_ms == erasure.at_ms
            });
            if !fits {
                wrong.push((erasure.sequence, "it does not say what the list of erasures says"));
            }
        }
        for (at, erased) in &said {
            if !erasures.iter().any(|e| e.id == erased.id && e.sequence >= *at) {
                wrong.push((*at, "it says that something was erased, and the list does not"));
            }
        }
        // Bundles are made by the list.
        for (at, ..) in acts.symmetric_difference(&self.archive.acts(org)?) {
            wrong.push((*at, "what was decided or confirmed there is not what is listed"));
        }
        wrong.sort_unstable();
        for (sequence, what) in wrong {
            self.found(Place::Line(sequence), what);
        }
        if let Some(sequence) = split {
            self.found(Place::Line(sequence), "the root over the log up to here is another");
        }
        if !closed {
            self.found(Place::Whole, "the log does not end with a root: its newest lines are gone");
        }
        if from_cbor::<Frontier>(&standing.frontier).ok().as_ref() != Some(&frontier) {
            self.found(Place::Whole, "the log does not end where its frontier says");
        }
        for (level, place, hash) in self.archive.nodes(org)? {
            if tiles.node(level, place).is_none_or(|node| node.0[..] != hash[..]) {
                let what = format!("node {place} of level {level} of the tree is another");
                self.found(Place::Whole, what);
            }
        }
        if standing.origin != life {
            self.found(Place::Whole, "the log's newest life is not the one that it is said to be");
        }
        if standing.records != records {
            self.found(Place::Whole, "there are records that no line of the log stands for");
        }
        if standing.photos_astray > 0 {
            self.found(
                Place::Whole,
                "photos are noted as here that are not, as not here that are, or for others than see them",
            );
        }
        if !standing.bytes_right {
            self.found(Place::Whole, "the bytes of its photos are not the sum of them");
        }
        if !self.archive.is_index_right(org)? {
            let what = "the index of what photos look like is not made of their sketches";
            self.found(Place::Whole, what);
        }
        Ok(frontier.size())
    }

    /// What each audience sees, as the sum that devices compare with.
    fn prints(&mut self) -> Result<(), StoreError> {
        let (kept, counted) = self.archive.prints(self.made.org)?;
        if kept != counted {
            self.found(Place::Whole, "the prints of what people see are not the sums of it");
        }
        Ok(())
    }

    /// What witnesses have signed is the log that is here.
    fn witnesses(&mut self) -> Result<(), StoreError> {
        if let Some(what) = self.archive.witness_flaw(self.made)? {
            self.found(Place::Whole, what);
        }
        Ok(())
    }

    /// Nothing is left of what was erased.
    fn erasures(&mut self) -> Result<Vec<Erasure>, StoreError> {
        let erasures = self.archive.erasures(self.made.org)?;
        for erasure in &erasures {
            if self.archive.remains(self.made.org, erasure)? {
                self.found(Place::Line(erasure.sequence), "what it says was erased is here");
            }
        }
        let asked: HashSet<BlobHash> = erasures.iter().filter_map(|e| e.digest).collect();
        for (hash, erased) in self.archive.gone(self.made.org)? {
            if erased && !asked.contains(&hash) {
                self.found(
                    Place::Whole,
                    format!("the photo {hash} is gone, and nobody asked for that"),
                );
            }
        }
        Ok(erasures)
    }

    fn notes(&mut self) -> Result<(), StoreError> {
        let mut wrong = Vec::new();
        self.archive.notes(self.made.org, |digest, note| {
            if note.digest() != digest {
                wrong.push(digest);
            }
        })?;
        for digest in wrong {
            self.found(Place::Note(digest), "its words are others");
        }
        Ok(())
    }

    /// The catalogue; `None` if it does not read. Which of its records it is, the log has said.
    fn world(&mut self) -> Option<World> {
        let mut world = World::default();
        let read = self.archive.records(self.made.org, |record, at| world.insert(record, at));
        if let Err(error) = read {
            self.found(Place::Whole, format!("its records do not read: {error}"));
            return None;
        }
        let key = Keypair::from_seed(&self.made.seed).public();
        if world.server(self.made.id).is_none_or(|device| device.key != key) {
            self.found(Place::Whole, "the server's key is not the one that its device has");
        }
        Some(world)
    }

    fn documents(
        &mut self,
        world: &World,
        keys: &Keys,
        step: &mut impl FnMut(),
    ) -> Result<(), StoreError> {
        let org = self.made.org;
        let lives = self.archive.lives(org)?;
        let mut figures: BTreeMap<FigurePlace, [Counts; 2]> = BTreeMap::new();
        let (mut visits, mut photos) = (0, Some(Print::default()));
        // The world as it was when the newest line of a document was written, and how many lines it has.
        let (mut then, mut known) = (World::default(), 0);
        for (name, newest) in self.archive.documents(org)? {
            let rows = self.archive.changes(org, &name)?;
            rows.iter().for_each(|_| step());
            let lines = (known, newest);
            self.archive.records_between(org, lines, |record, at| then.insert(record, at))?;
            known = newest;
            let Some(id) = DocId::from_bytes(&name) else { continue }; // its lines were named
            let Some(held) = self.document(id, &rows, &lives, keys)? else {
                photos = None; // which it names cannot be said
                continue;
            };
            photos = photos.map(|before| before + photos_of(&held, &rows));
            let Some(visit) = id.visit() else { continue };
            visits += u64::from(self.visit(&held, &rows, &then, &mut figures)?);
            self.field(world, &held, visit)?;
        }
        if self.archive.standing(org)?.visits != visits {
            self.found(Place::Whole, "there are rows of visits that have no document");
        }
        let kept = self.archive.photo_prints(org)?;
        if photos.is_some_and(|named| named != kept) {
            self.found(Place::Whole, "the rows of photos are not those that its documents name");
        }
        let mut expected = Vec::new();
        for (place, [all, contested]) in figures {
            expected.extend(all.iter().map(|(kpi, ratio)| {
                let n = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
                let signed = |ratio: Ratio| (n(ratio.numerator), n(ratio.denominator));
                let contested = signed(contested.get(kpi));
                Figure { place, kpi: kpi.id().to_owned(), ratio: signed(ratio), contested }
            }));
        }
        expected.sort();
        if self.archive.figures(org)? != expected {
            self.found(Place::Whole, "the daily figures are not the sum of the visits");
        }
        Ok(())
    }

    /// Every change gives its name, fits its document, is signed, and was captured when its row says; `None` if one does
    /// not read.
    fn document(
        &mut self,
        id: DocId,
        rows: &[ChangeRow],
        lives: &[(u32, u64)],
        keys: &Keys,
    ) -> Result<Option<Held>, StoreError> {
        let mut held = Held {
            document: Document::new(self.made.id, id),
            audience: None,
            times: HashMap::new(),
            devices: HashMap::new(),
            let_go: false,
        };
        let (mut changes, mut seals, mut before) = (Vec::new(), Vec::new(), None);
        for row in rows {
            let place = Place::Line(row.sequence);
            let change = match read(id, row) {
                Ok(change) => change,
                Err(what) => {
                    self.found(place, what);
                    return Ok(None);
                }
            };
            let hash = change.hash();
            if let Err(misfit) = held.document.insert(change.clone()) {
                self.found(place, format!("its change does not fit the document: {misfit}"));
                return Ok(None);
            }
            if let Some(signature) = &row.seal {
                let signature = signature.as_slice().try_into().unwrap_or([0; 64]);
                let seal = Seal { head: hash, signature };
                let key = keys.of(change.actor);
                if key.is_none_or(|key| !seal.verify(key, self.made.id, id)) {
                    self.found(place, "its signature does not verify");
                }
                seals.push(seal);
            }
            if let Ok(entry) = change.entry() {
                let times = self.archive.captured(self.made.org, lives, row, entry.when())?;
                if to_cbor(&times) != row.times {
                    self.found(place, "the time of its change is not what it and the log say");
                }
                held.times.insert(hash, times);
                self.volume(id, (row.sequence, &change), &entry, &mut before)?;
            }
            if let Ok(device) = row.device.as_slice().try_into() {
                held.devices.insert(hash, DeviceId::from_bytes(device));
            }
            changes.push(change);
        }
        let group = Group { document: id, changes, seals };
        if let Err(unsealed) = group.check_seals(self.made.id, keys) {
            self.found(Place::Document(id), unsealed.to_string());
        }
        Ok(Some(held))
    }

    /// Where a change begins a volume of an outlet's history, that follows the one `before`, which is read once.
    fn volume(
        &mut self,
        id: DocId,
        (sequence, change): (u64, &Change),
        entry: &Entry,
        before: &mut Option<Document>,
    ) -> Result<(), StoreError> {
        let follows = match begun(id, change, entry) {
            Ok(None) => return Ok(()),
            Ok(Some(volume)) => {
                let before = match before {
                    Some(before) => before,
                    None => before.insert(self.as_far_as_it_reads(volume.predecessor())?),
                };
                volume.follows(before)
            }
            Err(invalid) => Err(invalid.into()),
        };
        if let Err(refusal) = follows {
            let what = format!("it begins a volume that follows none that is here: {refusal}");
            self.found(Place::Line(sequence), what);
        }
        Ok(())
    }

    /// A document without what does not read or fit: that is named where the document is checked.
    fn as_far_as_it_reads(&self, id: DocId) -> Result<Document, StoreError> {
        let mut document = Document::new(self.made.id, id);
        let rows = self.archive.changes(self.made.org, &id.to_bytes())?;
        for change in rows.iter().filter_map(|row| read(id, row).ok()) {
            drop(document.insert(change));
        }
        Ok(document)
    }

    /// What is kept of a visit's place, way and time.
    fn field(&mut self, world: &World, held: &Held, visit: VisitId) -> Result<(), StoreError> {
        let Some(start) = Start::of(&held.document) else { return Ok(()) };
        let settings = self.archive.settings(self.made.org)?;
        let grounds = self.archive.grounds(self.made.org, start.outlet, settings)?;
        let reading = of_visit(held, &Known::of(world, grounds, settings));
        if !self.archive.field(self.made.org, visit, &reading)? {
            let place = Place::Document(visit.into());
            self.found(place, "what is kept of its place, way and time is not what it says");
        }
        Ok(())
    }

    /// A visit's row is what was derived from it by the world as it was `then`; whether it has one.
    fn visit(
        &mut self,
        held: &Held,
        rows: &[ChangeRow],
        then: &World,
        figures: &mut BTreeMap<FigurePlace, [Counts; 2]>,
    ) -> Result<bool, StoreError> {
        let (org, place) = (self.made.org, Place::Document(held.document.id()));
        let Some(newest) = rows.last() else { return Ok(false) };
        let (audience, let_go) = newest.seen_by;
        let Some(seen_by) = self.archive.audience(org, audience)? else {
            self.found(place, "who sees it is not known");
            return Ok(false);
        };
        let visit = Visit::read(&held.document);
        let line = (newest.sequence, newest.at_ms);
        let Some((row, facts)) = derived(&visit, held, (audience, seen_by), line, then) else {
            return Ok(false);
        };
        if row.counted {
            let at = (row.day.0, *row.territory.as_bytes(), *row.distributor.as_bytes());
            let of = if row.contest.is_some() { 2 } else { 1 };
            for sum in &mut figures.entry(at).or_default()[..of] {
                *sum = sum.checked_add(&per_visit(&facts)).unwrap_or(*sum);
            }
        }
        let kept = self.archive.is_as_derived(org, &row, &facts)?;
        match kept {
            Some((true, gone)) if gone == let_go => {}
            Some(_) => self.found(place, "its row among the visits is not what it says"),
            None => self.found(place, "it has no row among the visits"),
        }
        Ok(kept.is_some())
    }

    /// Refused work is what it was when it came.
    fn refused(&mut self, keys: &Keys) -> Result<(), StoreError> {
        let (org, mut wrong) = (self.made.id, Vec::new());
        self.archive.refused(self.made.org, |kept| {
            if let Err(what) = as_it_came(org, keys, &kept) {
                let document = DocId::from_bytes(&kept.document);
                wrong.push((Place::Refused { item: kept.item, document }, what));
            }
        })?;
        for (place, what) in wrong {
            self.found(place, what);
        }
        Ok(())
    }
}

/// The prints of the rows that say who names which photos in a document.
fn photos_of(held: &Held, rows: &[ChangeRow]) -> Print {
    let changes = held.document.changes().iter().map(|change| (change.hash(), change));
    let changes: HashMap<_, _> = changes.collect();
    let mut all: BTreeMap<(BlobHash, UserId), Named> = BTreeMap::new();
    for row in rows {
        let Ok(name) = <[u8; 32]>::try_from(&row.hash[..]) else { continue };
        let hash = ChangeHash(name);
        let (Some(change), Some(times)) = (changes.get(&hash), held.times.get(&hash)) else {
            continue;
        };
        let Ok(entry) = change.entry() else { continue };
        for photo in entry.photos() {
            let (document, by, times) = (held.document.id(), entry.by(), *times);
            let photo = PhotoRow { hash: photo.hash, document, by, times, bytes: photo.bytes };
            let named = all.entry((photo.hash, by)).or_insert_with(|| Named::first(&photo));
            named.again(&photo);
        }
    }
    all.values().fold(Print::default(), |sum, named| sum + named.print())
}

/// The change of a row, or why it is none.
fn read(document: DocId, row: &ChangeRow) -> Result<Change, String> {
    let parts = from_cbor::<Parts>(&row.body).map_err(|error| error.to_string());
    let change = parts
        .and_then(|parts| Change::new(document.kind, parts).map_err(|misfit| misfit.to_string()))
        .map_err(|error| format!("its change does not read: {error}"))?;
    match change.hash().0[..] == row.hash[..] {
        true => Ok(change),
        false => Err("its change has another hash than it is kept under".into()),
    }
}

/// Whether refused work is what it was when it came, or what is not.
fn as_it_came(org: OrgId, keys: &Keys, kept: &Kept) -> Result<(), String> {
    let digest = (!kept.arrived).then(|| BlobHash::of(&kept.body).0.to_vec());
    if kept.digest != digest {
        return Err("it is not what it was when it came".into());
    }
    if kept.arrived {
        let gone = kept.body.is_empty() && kept.changes.is_empty() && kept.photos.is_empty();
        return gone.then_some(()).ok_or_else(|| "it has arrived, and is still here".into());
    }
    let group = from_wire::<Group>(org, &kept.body);
    let group = group.map_err(|error| format!("it does not read: {error}"))?;
    if group.document.to_bytes()[..] != kept.document[..] {
        return Err(format!("it is work on {}", group.document));
    }
    if group.changes.last().is_none_or(|newest| newest.hash().0[..] != kept.head[..]) {
        return Err("its newest change is another".into());
    }
    if group.hashes().map(|hash| hash.0.to_vec()).collect::<BTreeSet<_>>() != kept.changes {
        return Err("its changes are not those that it is found by".into());
    }
    // More than it names may be there, of a change that an earlier version could not read.
    if !photos(&group).iter().all(|photo| kept.photos.contains(&photo.0[..])) {
        return Err("it is not found by a photo that it names".into());
    }
    if kept.logged {
        return Err("it waits for a decision, and is in the log".into());
    }
    if !kept.counted {
        return Err("how many of its changes are in the log is counted wrongly".into());
    }
    // What came without good signatures was refused for that; its digest alone says what it was.
    match group.check_seals(org, keys) {
        Err(unsealed)
            if ![Outcome::BAD_SEAL, Outcome::FOREIGN_ACTOR].contains(&kept.code.as_str()) =>
        {
            Err(unsealed.to_string())
        }
        _ => Ok(()),
    }
}
