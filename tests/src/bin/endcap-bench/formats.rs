//! How a recording could lie in a document, measured on standard audits: bytes, time to apply, to read.

use automerge::transaction::{CommitOptions, Transactable};
use automerge::{ActorId, Automerge, ObjType, ROOT, ReadDoc, ScalarValue};
use serde_json::json;
use sync_core::cbor::{from_cbor, to_cbor};
use sync_core::model::visit::{Observation, Observations, PhotoRef, Subject, Value};

use crate::audit::{self, Dice};

type Screen = (Vec<Observation>, Vec<PhotoRef>);

/// One shape: writes a screen into a document's list, and reads it back as a count of facts.
struct Shape {
    name: &'static str,
    write: fn(&mut automerge::transaction::Transaction<'_>, &automerge::ObjId, &Screen),
    read: fn(&Automerge, &automerge::ObjId) -> usize,
}

const SHAPES: [Shape; 4] = [
    Shape { name: "nested", write: write_nested, read: read_nested },
    Shape { name: "json", write: write_json, read: read_json },
    Shape { name: "cbor_rows", write: write_rows, read: read_rows },
    Shape { name: "cbor_columns", write: write_columns, read: read_columns },
];

fn subject(subject: &Subject) -> String {
    match subject {
        Subject::Position { planogram, position } => format!("{planogram}/{position}"),
        Subject::Product(gtin) => gtin.to_string(),
        _ => "outlet".into(),
    }
}

fn plain(value: &Value) -> serde_json::Value {
    match value {
        Value::Shelf { facings, in_stock, .. } => json!({ "facings": facings, "stock": in_stock }),
        Value::Price(money) => json!({ "minor": money.minor, "currency": money.currency.as_str() }),
        Value::Choice(option) => json!({ "choice": option }),
        _ => json!(null),
    }
}

fn write_nested(
    tx: &mut automerge::transaction::Transaction<'_>,
    list: &automerge::ObjId,
    (facts, photos): &Screen,
) {
    let recording = tx.insert_object(list, 0, ObjType::Map).expect("insert");
    let rows = tx.put_object(&recording, "observations", ObjType::List).expect("put");
    for (n, fact) in facts.iter().enumerate() {
        let row = tx.insert_object(&rows, n, ObjType::Map).expect("insert");
        tx.put(&row, "check", u64::from(fact.check)).expect("put");
        tx.put(&row, "subject", subject(&fact.subject)).expect("put");
        match &fact.value {
            Value::Shelf { facings, in_stock, .. } => {
                tx.put(&row, "facings", u64::from(*facings)).expect("put");
                tx.put(&row, "stock", *in_stock).expect("put");
            }
            Value::Price(money) => {
                tx.put(&row, "minor", money.minor).expect("put");
                tx.put(&row, "currency", money.currency.as_str()).expect("put");
            }
            Value::Choice(option) => tx.put(&row, "choice", u64::from(*option)).expect("put"),
            _ => {}
        }
    }
    let rows = tx.put_object(&recording, "photos", ObjType::List).expect("put");
    for (n, photo) in photos.iter().enumerate() {
        let row = tx.insert_object(&rows, n, ObjType::Map).expect("insert");
        tx.put(&row, "sha256", ScalarValue::Bytes(photo.hash.0.to_vec())).expect("put");
        tx.put(&row, "bytes", u64::from(photo.bytes)).expect("put");
        tx.put(&row, "phash", photo.phash).expect("put");
    }
}

fn read_nested(document: &Automerge, list: &automerge::ObjId) -> usize {
    let mut facts = 0;
    for (_, recording) in document.values(list) {
        let (_, rows) = document.get(&recording, "observations").expect("get").expect("there");
        for (_, row) in document.values(&rows) {
            facts += usize::from(document.get(&row, "check").expect("get").is_some());
        }
    }
    facts
}

fn put(
    tx: &mut automerge::transaction::Transaction<'_>,
    list: &automerge::ObjId,
    value: ScalarValue,
) {
    tx.insert(list, 0, value).expect("insert");
}

fn bytes_of(document: &Automerge, list: &automerge::ObjId) -> Vec<Vec<u8>> {
    let values = document.values(list);
    values.map(|(value, _)| value.into_owned().into_bytes().expect("bytes")).collect()
}

fn write_json(
    tx: &mut automerge::transaction::Transaction<'_>,
    list: &automerge::ObjId,
    (facts, photos): &Screen,
) {
    let facts: Vec<_> =
        facts.iter().map(|f| json!([f.check, subject(&f.subject), plain(&f.value)])).collect();
    let photos: Vec<_> = photos
        .iter()
        .map(|p| json!({ "sha256": p.hash.to_string(), "bytes": p.bytes, "phash": p.phash }))
        .collect();
    let text = json!({ "observations": facts, "photos": photos }).to_string();
    put(tx, list, ScalarValue::Str(text.into()));
}

fn read_json(document: &Automerge, list: &automerge::ObjId) -> usize {
    let texts = document.values(list).map(|(value, _)| value.into_owned().into_string());
    let texts = texts.map(|t| t.expect("text"));
    texts
        .map(|text| {
            let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            value["observations"].as_array().map_or(0, Vec::len)
        })
        .sum()
}

type Rows = (Vec<(u32, Subject, Value)>, Vec<PhotoRef>);

fn write_rows(
    tx: &mut automerge::transaction::Transaction<'_>,
    list: &automerge::ObjId,
    (facts, photos): &Screen,
) {
    let rows = facts.iter().map(|f| (f.check, f.subject.clone(), f.value.clone()));
    let rows: Rows = (rows.collect(), photos.clone());
    put(tx, list, ScalarValue::Bytes(to_cbor(&rows)));
}

fn read_rows(document: &Automerge, list: &automerge::ObjId) -> usize {
    let all = bytes_of(document, list);
    all.iter().map(|bytes| from_cbor::<Rows>(bytes).expect("CBOR").0.len()).sum()
}

fn write_columns(
    tx: &mut automerge::transaction::Transaction<'_>,
    list: &automerge::ObjId,
    (facts, photos): &Screen,
) {
    let value = (Observations(facts.clone()), photos.clone());
    put(tx, list, ScalarValue::Bytes(to_cbor(&value)));
}

fn read_columns(document: &Automerge, list: &automerge::ObjId) -> usize {
    let all = bytes_of(document, list);
    let each = all
        .iter()
        .map(|bytes| from_cbor::<(Observations, Vec<PhotoRef>)>(bytes).expect("CBOR").0.0.len());
    each.sum()
}

/// Measures every shape on `audits` standard audits.
pub(crate) fn measure(audits: u32) -> serde_json::Value {
    let mut figures = serde_json::Map::new();
    for shape in SHAPES {
        let (mut changes_bytes, mut saved_bytes) = (Vec::new(), Vec::new());
        let (mut apply_us, mut load_us, mut read_us) = (0.0, 0.0, 0.0);
        for n in 0..audits {
            let mut dice = Dice::new(u64::from(n) + 1);
            let mut document = Automerge::new().with_actor(ActorId::from(b"genesis"));
            let mut tx = document.transaction();
            let list = tx.put_object(ROOT, "recordings", ObjType::List).expect("put");
            tx.commit_with(CommitOptions::default().with_time(0));
            let empty = document.save();
            document.set_actor(ActorId::from(&dice.bytes::<16>()[..]));
            let before = document.get_heads();
            for screen in audit::screens(&mut dice) {
                let mut tx = document.transaction();
                (shape.write)(&mut tx, &list, &screen);
                tx.commit_with(CommitOptions::default().with_time(0));
            }
            let changes = document.get_changes(&before);
            changes.iter().for_each(|c| changes_bytes.extend_from_slice(c.raw_bytes()));
            let saved = document.save_nocompress();
            saved_bytes.extend_from_slice(&saved);
            let mut other = Automerge::load(&empty).expect("load");
            let began = crate::now();
            other.apply_changes(changes).expect("apply");
            apply_us += began.elapsed().as_secs_f64() * 1e6;
            let began = crate::now();
            let loaded = Automerge::load(&saved).expect("load");
            load_us += began.elapsed().as_secs_f64() * 1e6;
            let began = crate::now();
            assert_eq!((shape.read)(&loaded, &list), 100);
            read_us += began.elapsed().as_secs_f64() * 1e6;
        }
        let each = |total: f64| (total / f64::from(audits)).round();
        let zstd = |bytes: &[u8]| zstd::bulk::compress(bytes, 9).map_or(0, |b| b.len()) as f64;
        let figure = json!({
            "changes_bytes": each(changes_bytes.len() as f64),
            "changes_zstd_bytes": each(zstd(&changes_bytes)),
            "saved_zstd_bytes": each(zstd(&saved_bytes)),
            "apply_us": each(apply_us),
            "load_us": each(load_us),
            "read_us": each(read_us),
        });
        eprintln!("{:<13} {figure}", shape.name);
        figures.insert(shape.name.into(), figure);
    }
    figures.into()
}
