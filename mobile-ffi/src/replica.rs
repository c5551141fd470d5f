//! What sync-core reads and writes, on the sealed store.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use minicbor::bytes::ByteVec;
use sync_core::cargo::{Carried, Parcel};
use sync_core::cbor::{from_cbor, to_cbor};
use sync_core::client::{Clocks, Kept, Profile, Replica, Rows, Write};
use sync_core::document::Entry;
use sync_core::id::{BlobHash, DocId, ParcelHash, VisitId};
use sync_core::model::catalogue::{Record, RecordKey, RecordKind};
use sync_core::model::visit::{Note, PhotoOrigin, PhotoRef};
use sync_core::print::{Item, Print};
use sync_core::upkeep::salvage;
use sync_core::wire::RecordBytes;

use crate::photo::Vault;
use crate::store::{Reader, Space, StoreError, Writer};

/// Who the device is; see the names in [`own`].
pub(crate) const OWN: Space = Space(0);
const DOCUMENTS: Space = Space(1);
const OUTBOX: Space = Space(2);
const NOTES: Space = Space(3);
/// Photos by hash, each a [`PhotoState`].
pub(crate) const PHOTOS: Space = Space(4);
/// What is carried for others, by name: what each parcel is, and the parcel.
const CARGO: Space = Space(5);
const PARCELS: Space = Space(6);
/// The pages of documents, named by document and number.
const PAGES: Space = Space(8);
/// More than a document has.
const PAGES_MAX: u16 = 256;
/// Rows that could not be read, each a [`Remains`].
const REMAINS: Space = Space(9);
/// Records of kind 0 lie in this space, those of kind 1 in the next, and so on.
const RECORDS: u8 = 16;

/// Where the records of a kind lie.
pub(crate) fn records_of(kind: RecordKind) -> Space {
    Space(RECORDS + kind as u8)
}

fn page_of(document: DocId, number: u16) -> Vec<u8> {
    [&document.to_bytes()[..], &number.to_be_bytes()].concat()
}

/// Names in [`OWN`].
pub(crate) mod own {
    pub(crate) const PROFILE: &[u8] = b"profile";
    pub(crate) const SEED: &[u8] = b"seed";
    /// Of the key before, until the server knows the next one.
    pub(crate) const FORMER_SEED: &[u8] = b"former seed";
    pub(crate) const SERVER: &[u8] = b"server";
    /// How photos are made, a [`crate::photo::Setting`].
    pub(crate) const PHOTO_SETTING: &[u8] = b"photo setting";
}

/// A photo that a recording refers to, and how far it has got.
#[derive(Debug, Clone, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub(crate) struct PhotoState {
    /// Its size.
    #[n(0)]
    pub(crate) bytes: u32,
    /// Where the server takes the rest of it.
    #[n(1)]
    pub(crate) upload: Option<String>,
    /// The server has confirmed all of it.
    #[n(2)]
    pub(crate) sent: bool,
    /// Its difference hash.
    #[n(3)]
    pub(crate) phash: u64,
    /// Something names it, or did: it is to be sent.
    #[n(4)]
    pub(crate) attached: bool,
    /// The file that it was made from; `None` in rows of an earlier library.
    #[n(5)]
    pub(crate) origin: Option<PhotoOrigin>,
    /// Since when nothing here names it, by what the server's clock said in a sync, in milliseconds since 1970 UTC. Was it
    /// named before, it is sent first.
    #[n(6)]
    pub(crate) idle_ms: Option<i64>,
    /// A colleague carries it to the server.
    #[n(7)]
    pub(crate) given: Option<bool>,
    /// When the server refused it, as none that it takes, in milliseconds since 1970 UTC by its clock, and why.
    #[n(8)]
    pub(crate) refused: Option<(i64, String)>,
    /// Since when the server does not want it, while nothing here names it, and when it last said so: the same.
    #[n(9)]
    pub(crate) unwanted: Option<(i64, i64)>,
}

impl PhotoState {
    /// One that nothing names yet.
    pub(crate) fn new(bytes: u32, phash: u64, origin: Option<PhotoOrigin>) -> Self {
        let (upload, sent, attached, idle_ms) = (None, false, false, None);
        let (given, refused, unwanted) = (None, None, None);
        Self { bytes, upload, sent, phash, attached, origin, idle_ms, given, refused, unwanted }
    }

    /// The same once a new entry names it. It is to be sent, also if it was before: the server forgets a photo when nothing
    /// that it has names it any more, and one that it still has need not go through the line again.
    pub(crate) fn named(self) -> Self {
        let given = self.given.filter(|_| !self.sent);
        let (attached, sent, upload) = (true, false, None);
        Self { attached, sent, upload, idle_ms: None, given, unwanted: None, ..self }
    }

    /// The same when the server does not want it, and nothing here names it.
    pub(crate) fn unwanted(self, now_ms: i64) -> Self {
        let since_ms = self.unwanted.map_or(now_ms, |(since_ms, _)| since_ms.min(now_ms));
        Self { unwanted: Some((since_ms, now_ms)), ..self }
    }
}

/// A row that could not be read, and that may have held what nobody else has. Where it lay is its name.
#[derive(Debug, Clone, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub(crate) struct Remains {
    /// The row as it was found.
    #[n(0)]
    sealed: ByteVec,
    /// Of which document, if that is known.
    #[n(1)]
    document: Option<ByteVec>,
}

impl Remains {
    pub(crate) fn document(&self) -> Option<DocId> {
        self.document.as_ref().and_then(|id| DocId::from_bytes(id))
    }
}

/// The store within one transaction, as sync-core sees it.
pub(crate) struct View<'a> {
    pub(crate) reader: &'a Reader<'a>,
    pub(crate) profile: Profile,
    vault: &'a Vault,
}

impl<'a> View<'a> {
    /// `None` for a store that is not enrolled.
    pub(crate) fn open(
        reader: &'a Reader<'a>,
        vault: &'a Vault,
    ) -> Result<Option<Self>, StoreError> {
        let Some(bytes) = reader.get(OWN, own::PROFILE)? else { return Ok(None) };
        let profile = from_cbor(&bytes).map_err(damaged)?;
        Ok(Some(Self { reader, profile, vault }))
    }

    /// The photos that are to be sent, in the order in which they are needed: those whose visits have left this phone, those
    /// that were begun, those of visits that somebody waits to review, the others, what the server has refused, and last what it
    /// does not want; each the oldest first. Whether something that reads names it.
    pub(crate) fn waiting_photos(&self) -> Result<Vec<(BlobHash, PhotoState, bool)>, StoreError> {
        let mut waiting = BTreeMap::new();
        self.reader.scan(PHOTOS, |name, bytes| {
            let state: PhotoState = from_cbor(bytes).map_err(damaged)?;
            if let (true, Ok(hash)) = (state.attached && !state.sent, name.try_into()) {
                waiting.insert(BlobHash(hash), state);
            }
            Ok(())
        })?;
        if waiting.is_empty() {
            return Ok(Vec::new());
        }
        let mut needs: HashMap<BlobHash, (u8, i64)> = HashMap::new();
        for id in self.documents()? {
            if needs.len() == waiting.len() {
                break;
            }
            // What cannot be read is no reason to keep the others' photos back.
            let Ok(Some(kept)) = self.document(id) else { continue };
            let entries = kept.document.changes().iter().filter_map(|change| change.entry().ok());
            let entries: Vec<Entry> = entries.collect();
            let submitted = entries.iter().any(|entry| matches!(entry, Entry::Submission(_)));
            let rank = match (kept.refused.is_some(), submitted) {
                (true, _) => 4,
                (false, true) => 2,
                (false, false) => 3,
            };
            for entry in &entries {
                for photo in entry.photos().iter().filter(|photo| waiting.contains_key(&photo.hash))
                {
                    let need = (rank, entry.when().wall_ms);
                    let known = needs.entry(photo.hash).or_insert(need);
                    *known = need.min(*known);
                }
            }
        }
        let mut waiting: Vec<_> = waiting
            .into_iter()
            .map(|(hash, state)| (hash, state, needs.contains_key(&hash)))
            .collect();
        waiting.sort_by_key(|(hash, state, _)| {
            match (state.idle_ms, &state.upload, needs.get(hash)) {
                _ if state.unwanted.is_some() => (6, 0),
                (Some(since_ms), ..) if state.refused.is_none() => (0, since_ms),
                (_, Some(_), _) => (1, 0),
                (_, None, Some(need)) => *need,
                (_, None, None) => (5, 0),
            }
        });
        Ok(waiting)
    }

    /// The photos that something here names.
    pub(crate) fn named_photos(&self) -> Result<HashSet<BlobHash>, StoreError> {
        let mut photos = HashSet::new();
        for id in self.documents()? {
            photos.extend(self.document(id)?.iter().flat_map(Kept::photos));
        }
        Ok(photos)
    }

    /// What could not be read, row by row.
    pub(crate) fn remains(&self) -> Result<Vec<Remains>, StoreError> {
        let mut remains = Vec::new();
        self.reader.scan(REMAINS, |_, bytes| {
            remains.push(from_cbor(bytes).map_err(damaged)?);
            Ok(())
        })?;
        Ok(remains)
    }

    /// The photos that work names which the server has not confirmed. It may have refused that, and forget them.
    pub(crate) fn unconfirmed_photos(&self) -> Result<HashSet<BlobHash>, StoreError> {
        let mut photos = HashSet::new();
        for id in self.documents()? {
            photos.extend(self.document(id)?.iter().flat_map(pending_photos));
        }
        Ok(photos)
    }

    /// Every record of a kind, passed to `each` as it is read.
    pub(crate) fn each_record(
        &self,
        kind: RecordKind,
        mut each: impl FnMut(Record),
    ) -> Result<(), StoreError> {
        self.reader.scan(records_of(kind), |_, bytes| {
            each(from_cbor(bytes).map_err(damaged)?);
            Ok(())
        })
    }
}

fn damaged(error: minicbor::decode::Error) -> StoreError {
    StoreError::Damaged(error.to_string())
}

/// The photos that pending changes of a document name.
fn pending_photos(kept: &Kept) -> Vec<BlobHash> {
    let waiting = kept.pending.iter().filter_map(|hash| kept.document.change(*hash)?.entry().ok());
    waiting.flat_map(|entry| entry.photos().iter().map(|p| p.hash).collect::<Vec<_>>()).collect()
}

/// Has the photos that pending work in these writes names sent, also those that were before.
pub(crate) fn send_photos_of(writer: &Writer<'_>, writes: &[Write]) -> Result<(), StoreError> {
    let documents = writes.iter().filter_map(|write| match write {
        Write::Document(kept) => Some(kept),
        _ => None,
    });
    for hash in documents.flat_map(|kept| pending_photos(kept)) {
        let Some(bytes) = writer.get(PHOTOS, &hash.0)? else { continue };
        let state: PhotoState = from_cbor(&bytes).map_err(damaged)?;
        writer.put(PHOTOS, &hash.0, &to_cbor(&state.named()))?;
    }
    Ok(())
}

impl Replica for View<'_> {
    type Error = StoreError;

    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn record(&self, key: RecordKey) -> Result<Option<Record>, StoreError> {
        let bytes = self.reader.get(Space(RECORDS + key.kind), &key.id)?;
        bytes.map(|bytes| from_cbor(&bytes).map_err(damaged)).transpose()
    }

    fn record_bytes(&self, key: RecordKey) -> Result<Option<RecordBytes>, StoreError> {
        let Some(space) = RECORDS.checked_add(key.kind) else { return Ok(None) };
        Ok(self.reader.get(Space(space), &key.id)?.map(RecordBytes))
    }

    fn each_print(&self, each: &mut dyn FnMut(Item, Print)) -> Result<(), StoreError> {
        for space in RECORDS..=u8::MAX {
            self.reader.scan(Space(space), |name, bytes| {
                let id = name.try_into().map_err(|_| StoreError::Damaged("a record".into()))?;
                let key = RecordKey { kind: space - RECORDS, id };
                each(Item::Record(key), Print::of_record(key, bytes));
                Ok(())
            })?;
        }
        self.reader.scan(DOCUMENTS, |name, bytes| {
            let damaged = || StoreError::Damaged("a document".into());
            let id = DocId::from_bytes(name).ok_or_else(damaged)?;
            let page = |number| self.reader.get(PAGES, &page_of(id, number));
            each(Item::Document(id), Kept::print_of(bytes, page)?.ok_or_else(damaged)?);
            Ok(())
        })
    }

    fn records(&self, kind: RecordKind) -> Result<Vec<Record>, StoreError> {
        let mut records = Vec::new();
        self.each_record(kind, |record| records.push(record))?;
        Ok(records)
    }

    fn holds(&self, id: DocId) -> Result<bool, StoreError> {
        self.reader.has(DOCUMENTS, &id.to_bytes())
    }

    fn document(&self, id: DocId) -> Result<Option<Kept>, StoreError> {
        let Some(head) = self.reader.get(DOCUMENTS, &id.to_bytes())? else { return Ok(None) };
        let page = |number| self.reader.get(PAGES, &page_of(id, number));
        let kept = Kept::from_rows(self.profile.org, id, &head, page)?;
        kept.map(Some).ok_or_else(|| StoreError::Damaged(id.to_string()))
    }

    fn outbox(&self) -> Result<Vec<DocId>, StoreError> {
        let queued = self.reader.queue(OUTBOX, usize::MAX)?;
        Ok(queued.iter().filter_map(|(_, id)| DocId::from_bytes(id)).collect())
    }

    fn documents(&self) -> Result<Vec<DocId>, StoreError> {
        let mut ids = Vec::new();
        self.reader.scan(DOCUMENTS, |name, _| {
            ids.extend(DocId::from_bytes(name));
            Ok(())
        })?;
        ids.sort_unstable();
        Ok(ids)
    }

    fn note(&self, digest: BlobHash) -> Result<Option<Note>, StoreError> {
        let bytes = self.reader.get(NOTES, &digest.0)?;
        bytes.map(|bytes| from_cbor(&bytes).map_err(damaged)).transpose()
    }

    fn cargo(&self) -> Result<Vec<Carried>, StoreError> {
        let mut cargo = Vec::new();
        self.reader.scan(CARGO, |_, bytes| {
            cargo.push(from_cbor(bytes).map_err(damaged)?);
            Ok(())
        })?;
        Ok(cargo)
    }

    fn parcel(&self, name: ParcelHash) -> Result<Option<Parcel>, StoreError> {
        let bytes = self.reader.get(PARCELS, &name.0)?;
        Ok(bytes.and_then(Parcel::from_bytes))
    }

    fn photos(&self) -> Result<Vec<(BlobHash, u32)>, StoreError> {
        let named = self.waiting_photos()?.into_iter().filter(|(.., named)| *named);
        Ok(named.map(|(hash, state, _)| (hash, state.bytes)).collect())
    }

    fn photo(&self, hash: BlobHash) -> Result<Option<Vec<u8>>, StoreError> {
        match self.vault.get(&hash.0) {
            // The next sync says so.
            Err(StoreError::Damaged(_)) => Ok(None),
            read => read,
        }
    }
}

/// Whether a row is what this library would have written there, as far as it can be told without the others.
fn reads(space: Space, name: &[u8], value: &[u8]) -> bool {
    match space {
        NOTES => from_cbor::<Note>(value).is_ok(),
        PHOTOS => from_cbor::<PhotoState>(value).is_ok(),
        CARGO => from_cbor::<Carried>(value).is_ok(),
        PARCELS => Parcel::from_bytes(value.to_vec()).is_some(),
        Space(kind @ RECORDS..) if RecordKind::ALL.iter().any(|k| *k as u8 == kind - RECORDS) => {
            name.len() == 16 && from_cbor::<Record>(value).is_ok()
        }
        _ => true,
    }
}

/// Takes the rows that do not read out of the way, so that they cost what was in them and nothing else. What may have
/// held something that nobody else has is kept as [`Remains`]. Returns how many rows there were; if all of them read,
/// nothing is written.
pub(crate) fn set_rows_aside(
    writer: &Writer<'_>,
    vault: &Vault,
    clocks: &Clocks,
    instance: [u8; 8],
) -> Result<usize, StoreError> {
    let Some(view) = View::open(writer, vault)? else { return Ok(0) };
    let (mut bad, mut queues, mut named) = (Vec::new(), Vec::new(), BTreeSet::new());
    for space in (DOCUMENTS.0..=PAGES.0).chain(RECORDS..=u8::MAX).map(Space) {
        writer.each_row(space, |place, row| {
            let row = row.filter(|(name, value)| reads(space, name, value));
            match row {
                None => bad.push((space, place.to_vec())),
                Some((name, _)) if [DOCUMENTS, OUTBOX, PAGES].contains(&space) => {
                    named.extend(name.get(..17).and_then(DocId::from_bytes));
                }
                Some((_, value)) if space == records_of(RecordKind::Call) => {
                    if let Ok(Record::Call(call)) = from_cbor(value) {
                        named.insert(VisitId::of_call(view.profile.org, call.id).into());
                    }
                }
                Some(_) => {}
            }
            if space == OUTBOX {
                queues.push(place.to_vec());
            }
            Ok(())
        })?;
    }
    let queue = writer.queue_rows(OUTBOX, usize::MAX)?;
    let order: Vec<DocId> =
        queue.iter().filter_map(|(_, id)| DocId::from_bytes(id.as_ref()?)).collect();
    named.extend(&order);
    let mut left = Vec::new();
    for id in named {
        match view.document(id) {
            Ok(_) => {}
            Err(StoreError::Damaged(_)) => {
                let pages = (0..PAGES_MAX).map(|number| writer.get(PAGES, &page_of(id, number)));
                let pages = pages.filter_map(|page| page.ok().flatten());
                left.push(Kept::salvaged(&view.profile, id, pages));
            }
            Err(error) => return Err(error),
        }
    }
    let rows = bad.len() + left.len() + (queue.len() - order.len());
    if rows == 0 {
        return Ok(0);
    }
    for (position, _) in &queue {
        writer.remove_queued(*position)?;
    }
    for place in queues {
        writer.take_out(OUTBOX, &place)?;
    }
    // Those of a document go with it.
    let rows_of = left.iter().flat_map(|kept| places_of(writer, kept.document.id()));
    let rows_of: BTreeSet<_> = rows_of.collect();
    for (space, place) in bad.iter().filter(|row| !rows_of.contains(*row)) {
        // The server has every record, and the outbox is made anew below.
        let alone = space.0 < RECORDS && *space != OUTBOX;
        if let Some(sealed) = writer.take_out(*space, place)?.filter(|_| alone) {
            leave(writer, (*space, place), sealed, None)?;
        }
    }
    apply(writer, salvage(&view.profile, left, instance))?;
    let order = order.into_iter().filter(|id| view.holds(*id).unwrap_or(false));
    let order: Vec<DocId> = order.chain(view.documents()?).collect();
    for id in order {
        let Some(kept) = view.document(id)? else { continue };
        if kept.to_push() && !writer.has(OUTBOX, &id.to_bytes())? {
            enqueue(writer, &id.to_bytes())?;
        }
        for photo in kept.own_photos(&view.profile) {
            if !writer.has(PHOTOS, &photo.hash.0)? && matches!(view.photo(photo.hash), Ok(Some(_)))
            {
                let PhotoRef { hash, bytes, phash, origin, .. } = photo;
                let state = PhotoState { attached: true, ..PhotoState::new(bytes, phash, origin) };
                writer.put(PHOTOS, &hash.0, &to_cbor(&state))?;
            }
        }
    }
    let mut parcels = Vec::new();
    writer.scan(PARCELS, |_, bytes| {
        parcels.extend(Parcel::from_bytes(bytes.to_vec()));
        Ok(())
    })?;
    for parcel in &parcels {
        if !writer.has(CARGO, &parcel.name().0)? {
            let carried = Carried::of(parcel, view.profile.server_ms(clocks));
            writer.put(CARGO, &carried.name.0, &to_cbor(&carried))?;
        }
    }
    for carried in view.cargo()? {
        if !writer.has(PARCELS, &carried.name.0)? {
            writer.delete(CARGO, &carried.name.0)?;
        }
    }
    Ok(rows)
}

/// Where rows of a document may lie.
fn places_of<'a>(
    reader: &'a Reader<'_>,
    document: DocId,
) -> impl Iterator<Item = (Space, Vec<u8>)> + 'a {
    let pages = (0..PAGES_MAX).map(move |number| (PAGES, page_of(document, number)));
    let rows = pages.chain([(DOCUMENTS, document.to_bytes().to_vec())]);
    rows.map(|(space, name)| (space, reader.place(space, &name).to_vec()))
}

/// Keeps a row that does not read, as it was found.
fn leave(
    writer: &Writer<'_>,
    (space, place): (Space, &[u8]),
    sealed: Vec<u8>,
    document: Option<DocId>,
) -> Result<(), StoreError> {
    let document = document.map(|id| id.to_bytes().to_vec().into());
    let remains = Remains { sealed: sealed.into(), document };
    writer.put(REMAINS, &[&[space.0], place].concat(), &to_cbor(&remains))
}

/// Gives up a photo that was to be sent and does not read; its file is kept as it was found.
pub(crate) fn set_photo_aside(
    writer: &Writer<'_>,
    hash: BlobHash,
    sealed: Vec<u8>,
) -> Result<(), StoreError> {
    let place = writer.place(PHOTOS, &hash.0).to_vec();
    writer.delete(PHOTOS, &hash.0)?;
    leave(writer, (PHOTOS, &place), sealed, None)
}

/// Drops what could not be read.
pub(crate) fn forget_remains(writer: &Writer<'_>) -> Result<(), StoreError> {
    let mut places = Vec::new();
    writer.each_row(REMAINS, |place, _| {
        places.push(place.to_vec());
        Ok(())
    })?;
    places.iter().try_for_each(|place| writer.take_out(REMAINS, place).map(drop))
}

/// Begins anew to send every photo: the server may have lost what it had confirmed, and what names one that it did not want
/// may come back.
fn resend_photos(writer: &Writer<'_>) -> Result<(), StoreError> {
    let mut states = Vec::new();
    writer.scan(PHOTOS, |name, bytes| {
        states.push((name.to_vec(), from_cbor::<PhotoState>(bytes).map_err(damaged)?));
        Ok(())
    })?;
    let asked = |state: &PhotoState| state.sent || state.unwanted.is_some();
    for (name, state) in states.into_iter().filter(|(_, state)| asked(state)) {
        let given = state.given.filter(|_| !state.sent);
        let state = PhotoState { sent: false, upload: None, given, unwanted: None, ..state };
        writer.put(PHOTOS, &name, &to_cbor(&state))?;
    }
    Ok(())
}

fn enqueue(writer: &Writer<'_>, document: &[u8]) -> Result<(), StoreError> {
    let position = writer.push(OUTBOX, document)?;
    writer.put(OUTBOX, document, &position.to_be_bytes())
}

fn unqueue(writer: &Writer<'_>, document: &[u8]) -> Result<(), StoreError> {
    if let Some(Ok(position)) = writer.get(OUTBOX, document)?.map(TryInto::try_into) {
        writer.remove_queued(u64::from_be_bytes(position))?;
    }
    writer.delete(OUTBOX, document).map(drop)
}

/// Stores what sync-core wants stored, and keeps the outbox in step with the documents.
pub(crate) fn apply(writer: &Writer<'_>, writes: Vec<Write>) -> Result<(), StoreError> {
    for write in writes {
        match write {
            Write::Document(kept) => {
                let document = kept.document.id();
                let id = document.to_bytes();
                let Rows { head, pages, dropped } =
                    kept.rows(writer.get(DOCUMENTS, &id)?.as_deref());
                writer.put(DOCUMENTS, &id, &head)?;
                for (number, page) in pages {
                    writer.put(PAGES, &page_of(document, number), &page)?;
                }
                for number in dropped {
                    writer.delete(PAGES, &page_of(document, number))?;
                }
                match (kept.to_push(), writer.get(OUTBOX, &id)?) {
                    (true, None) => enqueue(writer, &id)?,
                    (false, Some(_)) => unqueue(writer, &id)?,
                    _ => {}
                }
            }
            // A kind far beyond those of today would not fit the spaces; it is of no use here anyway.
            Write::Record(key, _) if key.kind > u8::MAX - RECORDS => {}
            Write::Record(key, bytes) => {
                writer.put(Space(RECORDS + key.kind), &key.id, &bytes.0)?;
            }
            Write::Forget(key) if key.kind > u8::MAX - RECORDS => {}
            Write::Forget(key) => drop(writer.delete(Space(RECORDS + key.kind), &key.id)?),
            Write::ForgetRecords => {
                for space in (RECORDS..=u8::MAX).map(Space) {
                    let mut names = Vec::new();
                    writer.scan(space, |name, _| {
                        names.push(name.to_vec());
                        Ok(())
                    })?;
                    names.iter().try_for_each(|name| writer.delete(space, name).map(drop))?;
                }
            }
            Write::Purge(kept) => {
                let document = kept.document.id();
                let id = document.to_bytes();
                let head = writer.get(DOCUMENTS, &id)?;
                for number in 0..head.map_or(0, |head| Rows::pages_of(&head)) {
                    writer.delete(PAGES, &page_of(document, number))?;
                }
                writer.delete(DOCUMENTS, &id)?;
                unqueue(writer, &id)?;
            }
            Write::ForgetNote(digest) => drop(writer.delete(NOTES, &digest.0)?),
            // With its file, when all of this is on the disk.
            Write::ForgetPhoto(hash) => {
                if let (Some(bytes), Some(own)) =
                    (writer.get(PHOTOS, &hash.0)?, writer.get(OWN, own::PROFILE)?)
                {
                    let profile: Profile = from_cbor(&own).map_err(damaged)?;
                    let idle_ms = profile.witness.map(|witness| witness.server_ms);
                    let state: PhotoState = from_cbor(&bytes).map_err(damaged)?;
                    writer.put(PHOTOS, &hash.0, &to_cbor(&PhotoState { idle_ms, ..state }))?;
                }
            }
            Write::ResendPhotos => resend_photos(writer)?,
            Write::Salvage(kept) => {
                let document = kept.document.id();
                for (space, place) in places_of(writer, document) {
                    if let Some(sealed) = writer.take_out(space, &place)? {
                        leave(writer, (space, &place), sealed, Some(document))?;
                    }
                }
                unqueue(writer, &document.to_bytes())?;
                if !kept.document.changes().is_empty() {
                    apply(writer, vec![Write::Document(kept)])?;
                }
            }
            Write::Note(note) => writer.put(NOTES, &note.digest().0, &to_cbor(&note))?,
            Write::Carry(parcel, since_ms) => {
                let carried = Carried::of(&parcel, since_ms);
                writer.put(CARGO, &carried.name.0, &to_cbor(&carried))?;
                writer.put(PARCELS, &carried.name.0, parcel.as_bytes())?;
            }
            Write::Unload(name) => {
                writer.delete(CARGO, &name.0)?;
                writer.delete(PARCELS, &name.0)?;
            }
            Write::PutOff { name, unnamed } => {
                if let Some(bytes) = writer.get(CARGO, &name.0)? {
                    let carried: Carried = from_cbor(&bytes).map_err(damaged)?;
                    writer.put(CARGO, &name.0, &to_cbor(&carried.later(unnamed)))?;
                }
            }
            Write::PhotoGiven(hash) => {
                if let Some(bytes) = writer.get(PHOTOS, &hash.0)? {
                    let state: PhotoState = from_cbor(&bytes).map_err(damaged)?;
                    let state = PhotoState { given: Some(true), ..state };
                    writer.put(PHOTOS, &hash.0, &to_cbor(&state))?;
                }
            }
            Write::Erase(digest) => {
                writer.delete(NOTES, &digest.0)?;
                writer.delete(PHOTOS, &digest.0)?;
            }
            Write::Profile(profile) => writer.put(OWN, own::PROFILE, &to_cbor(&*profile))?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;
    use crate::store::tests::Scratch;

    #[test]
    fn records_of_later_kinds_wait_for_a_library_that_knows_them() {
        let scratch = Scratch::new();
        let store = Store::open(&scratch.0, &[7; 32]).unwrap();
        let later = |kind| (RecordKey { kind, id: [1; 16] }, RecordBytes(b"as it came".to_vec()));
        let (next, far) = (later(RecordKind::ALL.len() as u8), later(u8::MAX));
        let writes = [&next, &far].map(|(key, bytes)| Write::Record(*key, bytes.clone()));
        store.write(|writer| apply(writer, writes.into())).unwrap();
        let at = Space(RECORDS + next.0.kind);
        let kept = |name| store.read(|reader| reader.get(at, name)).unwrap();
        assert_eq!(kept(&next.0.id).as_ref(), Some(&next.1.0));
        for forget in [Write::Forget(next.0), Write::ForgetRecords] {
            let again = vec![Write::Record(next.0, next.1.clone()), forget];
            store.write(|writer| apply(writer, again)).unwrap();
            assert_eq!(kept(&next.0.id), None);
        }
    }
}
