//! The formats, frozen: documents and messages as they were once written, against what is written today.
//!
//! `fixtures/documents` and `fixtures/wire` are compared byte for byte. `ENDCAP_BLESS=1` writes them anew:
//! before the first release a change of the protocol, after it a mistake. `check.py`, beside this file,
//! computes the same bytes from docs/protocol.md without any Rust; `client.py` syncs by it.

#![expect(clippy::unwrap_used, reason = "a fixture that cannot be read fails the test")]

mod allowed;
mod cases;
mod device;
mod elsewhere;
mod evolution;
mod exchange;
mod keeping;
mod later;
mod next;
mod office;
mod photos;
mod refused;
mod relay;
mod rights;
mod size;
mod story;
mod views;
mod visits;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;

use automerge::{Automerge, ReadDoc};
use serde_json::{Value as Json, json};
use sync_core::cbor::{from_cbor, to_cbor};
use sync_core::document::{Change, Document, Entry, Parts, Section};
use sync_core::evidence::{Frontier, Keypair, Seal, fingerprint_text, proves};
use sync_core::id::{Actor, ChangeHash, DocId, OrgId};
use sync_core::model::catalogue::{CheckKind, Record, RecordKey};
use sync_core::print::Part;
use sync_core::wire::{
    PullReply, PullRequest, PushReply, PushRequest, RepairReply, RepairRequest, from_wire,
    protocol_of, to_wire,
};

use tests::fuzz::evidence;

use crate::cases::{ORG, Written};
use crate::next::grown;

const BUNDLE: &str = "wire/bundle.zip";

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures")
}

fn read(name: &str) -> Json {
    bless();
    let text = std::fs::read_to_string(fixtures().join(name));
    let text = text.unwrap_or_else(|error| panic!("{name}: {error}; ENDCAP_BLESS=1 writes it"));
    serde_json::from_str(&text).unwrap()
}

/// Writes every fixture anew, once, if that is asked for.
fn bless() {
    static BLESSED: Once = Once::new();
    BLESSED.call_once(|| {
        if std::env::var_os("ENDCAP_BLESS").is_none_or(|v| v != "1") {
            return;
        }
        for (name, now) in [
            ("documents/geneses.json", geneses_now()),
            ("documents/volumes.json", volumes_now()),
            ("documents/documents.json", documents_now()),
            ("documents/later.json", later_entries_now()),
            ("device/rows.json", device::rows_now()),
            ("device/draft.json", device::draft_now()),
            ("wire/seals.json", seals_now()),
            ("wire/log.json", log_now()),
            ("wire/records.json", records_now()),
            ("wire/later_records.json", later_records_now()),
            ("wire/messages.json", messages_now()),
            ("wire/prints.json", prints_now()),
            ("wire/later.json", later_now()),
            ("wire/exchange.json", exchange::record()),
            ("wire/relay.json", relay::relay_now()),
            ("wire/refused.json", refused::refused_now()),
            ("wire/views.json", views::views_now()),
            ("wire/rights.json", rights::rights_now()),
        ] {
            let text = serde_json::to_string_pretty(&now).unwrap() + "\n";
            std::fs::write(fixtures().join(name), text).unwrap();
        }
        std::fs::write(fixtures().join(BUNDLE), &evidence::honest().bundle).unwrap();
        device::leave_folder();
        for Written { name, document, .. } in cases::documents() {
            let path = fixtures().join(format!("documents/{name}.automerge.bin"));
            std::fs::write(path, document.to_automerge().unwrap()).unwrap();
        }
    });
}

/// Compares with a fixture.
fn golden(name: &str, now: &Json) {
    let then = read(name);
    let (now, then) = match (now.as_array(), then.as_array()) {
        (Some(now), Some(then)) => (now.clone(), then.clone()),
        _ => (vec![now.clone()], vec![then.clone()]),
    };
    assert_eq!(now.len(), then.len(), "{name} has another number of cases");
    for (place, (now, then)) in now.iter().zip(&then).enumerate() {
        assert_eq!(
            now, then,
            "case {place} of fixtures/{name}: now on the left, as shipped on the right"
        );
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex(json: &Json) -> Vec<u8> {
    let text = json.as_str().expect("hexadecimal digits");
    let byte = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal digits");
    (0..text.len()).step_by(2).map(byte).collect()
}

fn array<const N: usize>(json: &Json) -> [u8; N] {
    unhex(json).try_into().expect("the right number of bytes")
}

/// The document's genesis as Automerge writes it.
fn genesis_chunk(org: OrgId, id: DocId) -> Vec<u8> {
    let file = Document::new(org, id).to_automerge().unwrap();
    let file = Automerge::load(&file).unwrap();
    let changes = file.get_changes(&[]);
    assert_eq!(changes.len(), 1);
    changes[0].raw_bytes().to_vec()
}

fn named(id: DocId) -> Json {
    json!({ "kind": id.kind.as_str(), "id": hex(&id.id) })
}

fn parts_json(parts: &Parts) -> Json {
    json!({
        "actor": hex(parts.actor.as_bytes()),
        "seq": parts.seq,
        "start_op": parts.start_op,
        "deps": parts.deps.iter().map(|d| hex(&d.0)).collect::<Vec<_>>(),
        "section": parts.section.as_str(),
        "value": hex(&parts.value),
    })
}

fn geneses_now() -> Json {
    let cases = cases::geneses().into_iter().map(|(org, id)| {
        let chunk = genesis_chunk(org, id);
        let hash = Document::new(org, id).genesis();
        json!({
            "organisation": hex(org.as_bytes()), "document": named(id),
            "chunk": hex(&chunk), "hash": hex(&hash.0),
        })
    });
    cases.collect()
}

#[test]
fn geneses() {
    golden("documents/geneses.json", &geneses_now());
}

fn volumes_now() -> Json {
    let volumes = cases::volumes().into_iter().map(|(outlet, number)| {
        let id = hex(&DocId::volume(outlet, number).id);
        json!({ "outlet": hex(outlet.as_bytes()), "number": number, "id": id })
    });
    volumes.collect()
}

#[test]
fn volumes() {
    golden("documents/volumes.json", &volumes_now());
}

fn documents_now() -> Json {
    let documents = cases::documents().into_iter().map(|Written { name, document, entries }| {
        let (id, kind) = (document.id(), document.id().kind);
        let changes = document.changes().iter().zip(&entries).map(|(change, what)| {
            json!({
                "what": what,
                "parts": parts_json(change),
                "chunk": hex(&change.chunk(kind).unwrap()),
                "hash": hex(&change.hash().0),
            })
        });
        json!({
            "name": name,
            "organisation": hex(document.org().as_bytes()),
            "document": named(id),
            "changes": changes.collect::<Vec<_>>(),
            "heads": document.heads().iter().map(|h| hex(&h.0)).collect::<Vec<_>>(),
        })
    });
    documents.collect()
}

#[test]
fn changes_of_every_kind() {
    golden("documents/documents.json", &documents_now());
}

#[test]
fn shipped_entries_are_read_and_written_as_they_were() {
    for document in read("documents/documents.json").as_array().unwrap() {
        for change in document["changes"].as_array().unwrap() {
            let parts = &change["parts"];
            let section = story::section(&parts["section"]);
            let value = unhex(&parts["value"]);
            let entry = Entry::decode(section, &value).unwrap();
            entry.validate().unwrap();
            assert_eq!(hex(&entry.encode()), hex(&value), "{}", change["what"]);
        }
    }
}

fn later_entries_now() -> Json {
    let documents = cases::documents();
    let changes = documents.iter().flat_map(|written| written.document.changes());
    let entries = changes.map(|change| {
        let later = grown(&next::entry(change.section), &change.value);
        let read = Entry::decode(change.section, &later).unwrap();
        read.validate().unwrap();
        assert_eq!(read, change.entry().unwrap());
        json!({
            "section": change.section.as_str(),
            "entry": hex(&later), "reads_as": hex(&change.value),
        })
    });
    entries.collect()
}

#[test]
fn what_a_later_version_adds_to_an_entry_is_skipped() {
    golden("documents/later.json", &later_entries_now());
}

#[test]
fn a_shipped_file_opens_in_automerge() {
    bless();
    for Written { name, document, .. } in cases::documents() {
        let path = fixtures().join(format!("documents/{name}.automerge.bin"));
        let file = Automerge::load(&std::fs::read(&path).unwrap()).unwrap();
        let heads: Vec<_> = file.get_heads().iter().map(|h| ChangeHash(h.0)).collect();
        assert_eq!(heads, document.heads(), "{name}");
        let (schema, _) = file.get(automerge::ROOT, "schema").unwrap().unwrap();
        assert_eq!(schema, automerge::Value::uint(1));
        for section in Section::of(document.id().kind) {
            let (_, list) = file.get(automerge::ROOT, section.as_str()).unwrap().unwrap();
            let values =
                file.values(&list).map(|(value, _)| value.into_owned().into_bytes().unwrap());
            let mut values: Vec<Vec<u8>> = values.collect();
            let here = document.changes().iter().filter(|c| c.section == *section);
            let mut expected: Vec<Vec<u8>> = here.map(|c| c.value.clone()).collect();
            values.sort();
            expected.sort();
            assert_eq!(values, expected, "{name}, {}", section.as_str());
        }
    }
}

fn seals_now() -> Json {
    let seals = cases::seals().into_iter().map(|(seed, org, id, head)| {
        let pair = Keypair::from_seed(&seed);
        let Seal { head, signature } = pair.seal(org, id, head);
        json!({
            "seed": hex(&seed), "public_key": hex(&pair.public()),
            "fingerprint": hex(&Actor::fingerprint(&pair.public())),
            "compared": fingerprint_text(&pair.public()),
            "organisation": hex(org.as_bytes()), "document": named(id),
            "head": hex(&head.0), "signature": hex(&signature),
        })
    });
    let proofs = cases::proofs().into_iter().map(|(seed, code)| {
        let pair = Keypair::from_seed(&seed);
        json!({
            "seed": hex(&seed), "public_key": hex(&pair.public()), "code": code,
            "signature": hex(&pair.prove(code)),
        })
    });
    json!({ "seals": seals.collect::<Vec<_>>(), "proofs": proofs.collect::<Vec<_>>() })
}

#[test]
fn seals_and_proofs() {
    golden("wire/seals.json", &seals_now());
    let then = read("wire/seals.json");
    for case in then["seals"].as_array().unwrap() {
        let seal =
            Seal { head: ChangeHash(array(&case["head"])), signature: array(&case["signature"]) };
        let kind = match case["document"]["kind"].as_str() {
            Some("outlet") => sync_core::id::DocKind::Outlet,
            _ => sync_core::id::DocKind::Visit,
        };
        let document = DocId { kind, id: array(&case["document"]["id"]) };
        let org = OrgId::from_bytes(array(&case["organisation"]));
        assert!(seal.verify(&array(&case["public_key"]), org, document));
    }
    for case in then["proofs"].as_array().unwrap() {
        let code = case["code"].as_str().unwrap();
        assert!(proves(&array(&case["public_key"]), code, &array(&case["signature"])));
    }
}

fn log_now() -> Json {
    let mut frontier = Frontier::default();
    let mut roots = vec![hex(&frontier.root().0)];
    let leaves: Vec<Json> = cases::leaves()
        .into_iter()
        .map(|(what, leaf)| {
            frontier.push(leaf.hash());
            roots.push(hex(&frontier.root().0));
            json!({ "what": what, "leaf": hex(&to_cbor(&leaf)), "hash": hex(&leaf.hash().0) })
        })
        .collect();
    json!({ "leaves": leaves, "roots": roots })
}

#[test]
fn leaves_and_roots() {
    golden("wire/log.json", &log_now());
}

fn records_now() -> Json {
    let records = cases::records().into_iter().map(|record| {
        record.validate().unwrap();
        let (bytes, key) = (to_cbor(&record), record.key());
        assert_eq!(RecordKey::peek(&bytes), Some(key));
        json!({ "kind": key.kind, "id": hex(&key.id), "record": hex(&bytes) })
    });
    records.collect()
}

#[test]
fn records_of_every_kind() {
    golden("wire/records.json", &records_now());
    for case in read("wire/records.json").as_array().unwrap() {
        let bytes = unhex(&case["record"]);
        let record: Record = from_cbor(&bytes).unwrap();
        assert_eq!(hex(&to_cbor(&record)), hex(&bytes));
    }
}

fn later_records_now() -> Json {
    let records = cases::records().into_iter().map(|record| {
        let plain = to_cbor(&record);
        let later = grown(&next::RECORD, &plain);
        assert_eq!(RecordKey::peek(&later), Some(record.key()));
        assert_eq!(from_cbor::<Record>(&later).unwrap(), record);
        json!({ "record": hex(&later), "reads_as": hex(&plain) })
    });
    records.collect()
}

#[test]
fn what_a_later_version_adds_to_a_record_is_skipped() {
    golden("wire/later_records.json", &later_records_now());
}

#[test]
fn a_check_of_a_later_kind_is_kept_whole() {
    for kind in [
        to_cbor(&(9_u32, "later", 1_u8)),
        to_cbor(&(4_u32, 9_u32, ["a later kind of answer"])),
        to_cbor(&(0_u32, "longer than today's")),
    ] {
        let check: CheckKind = from_cbor(&kind).unwrap();
        assert_eq!(check, CheckKind::Unknown(kind.clone()));
        assert_eq!(to_cbor(&check), kind);
    }
}

/// What a message is after it was read and written again, with the hashes of its groups.
fn again(path: &str, request: bool, org: OrgId, bytes: &[u8]) -> (Vec<u8>, Vec<Vec<String>>) {
    fn hashes(groups: &[sync_core::wire::Group]) -> Vec<Vec<String>> {
        groups.iter().map(|g| g.hashes().map(|h| hex(&h.0)).collect()).collect()
    }
    assert_eq!(protocol_of(bytes), Some(1));
    match (path, request) {
        ("/api/v1/push", true) => {
            let message: PushRequest = from_wire(org, bytes).unwrap();
            (to_wire(org, &message), hashes(&message.groups))
        }
        ("/api/v1/push", false) => {
            let message: PushReply = from_wire(org, bytes).unwrap();
            (to_wire(org, &message), Vec::new())
        }
        ("/api/v1/pull", true) => {
            let message: PullRequest = from_wire(org, bytes).unwrap();
            (to_wire(org, &message), Vec::new())
        }
        ("/api/v1/pull", false) => {
            let message: PullReply = from_wire(org, bytes).unwrap();
            (to_wire(org, &message), hashes(&message.groups))
        }
        ("/api/v1/repair", true) => {
            let message: RepairRequest = from_wire(org, bytes).unwrap();
            (to_wire(org, &message), Vec::new())
        }
        ("/api/v1/repair", false) => {
            let message: RepairReply = from_wire(org, bytes).unwrap();
            (to_wire(org, &message), hashes(&message.groups))
        }
        other => panic!("{other:?} is no message"),
    }
}

fn prints_now() -> Json {
    let items = cases::items().into_iter().map(|(item, parts)| {
        let parts: Vec<String> = parts.iter().map(|part| hex(part)).collect();
        json!({ "item": hex(&item.to_bytes()), "parts": parts })
    });
    let inventory = cases::inventory();
    let contents = std::iter::once(Part::WHOLE).chain(Part::WHOLE.parts()).map(|part| {
        json!({ "part": hex(&to_cbor(&part)), "content": hex(&to_cbor(&inventory.content(part))) })
    });
    json!({
        "items": items.collect::<Vec<_>>(),
        "print": hex(&inventory.print().to_bytes()),
        "name": hex(&inventory.print().name().0),
        "contents": contents.collect::<Vec<_>>(),
    })
}

#[test]
fn prints() {
    golden("wire/prints.json", &prints_now());
}

fn messages_now() -> Json {
    let messages = cases::messages().into_iter().map(|(what, path, request, bytes)| {
        let (written, groups) = again(path, request, ORG, &bytes);
        assert_eq!(hex(&written), hex(&bytes), "{what}");
        json!({
            "what": what, "path": path, "request": request,
            "organisation": hex(ORG.as_bytes()), "message": hex(&bytes), "groups": groups,
        })
    });
    messages.collect()
}

#[test]
fn messages() {
    golden("wire/messages.json", &messages_now());
}

fn later_now() -> Json {
    let later = cases::later().into_iter().map(|((what, path, request, bytes), plain)| {
        let (written, _) = again(path, request, ORG, &bytes);
        assert_eq!(hex(&written), hex(&plain), "{what}");
        json!({
            "what": what, "path": path, "request": request, "organisation": hex(ORG.as_bytes()),
            "message": hex(&bytes), "reads_as": hex(&plain),
        })
    });
    later.collect()
}

#[test]
fn what_a_later_version_adds_to_a_message_is_skipped() {
    golden("wire/later.json", &later_now());
}

/// What two phones and a server once said to each other is still read, and still said so.
#[test]
fn a_recorded_exchange() {
    let recorded = read("wire/exchange.json");
    let org = OrgId::from_bytes(array(&recorded["organisation"]));
    let steps = recorded["steps"].as_array().unwrap();
    assert!(steps.len() >= 8);
    for (place, step) in steps.iter().enumerate() {
        let path = step["path"].as_str().unwrap();
        for request in [true, false] {
            let bytes = unhex(&step[if request { "request" } else { "response" }]);
            let (written, groups) = again(path, request, org, &bytes);
            assert_eq!(hex(&written), hex(&bytes), "step {place}, request: {request}");
            let expected = &step[if request { "pushed" } else { "pulled" }];
            assert_eq!(&json!(groups), expected, "step {place}, request: {request}");
        }
    }
}

/// A change that was shipped keeps its name however it is rebuilt.
#[test]
fn shipped_parts_give_shipped_hashes() {
    for document in read("documents/documents.json").as_array().unwrap() {
        let kind = match document["document"]["kind"].as_str() {
            Some("outlet") => sync_core::id::DocKind::Outlet,
            _ => sync_core::id::DocKind::Visit,
        };
        let id = DocId { kind, id: array(&document["document"]["id"]) };
        let mut again = Document::new(OrgId::from_bytes(array(&document["organisation"])), id);
        for change in document["changes"].as_array().unwrap() {
            let parts = &change["parts"];
            let section = Section::of(kind).iter().find(|s| parts["section"] == s.as_str());
            let parts = Parts {
                actor: Actor::from_bytes(array(&parts["actor"])),
                seq: parts["seq"].as_u64().unwrap(),
                start_op: parts["start_op"].as_u64().unwrap(),
                deps: parts["deps"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|d| ChangeHash(array(d)))
                    .collect(),
                section: *section.unwrap(),
                value: unhex(&parts["value"]),
            };
            let made = Change::new(kind, parts).unwrap();
            assert_eq!(hex(&made.hash().0), change["hash"].as_str().unwrap());
            again.insert(made).unwrap();
        }
        let heads: Vec<_> = again.heads().iter().map(|h| hex(&h.0)).collect();
        assert_eq!(json!(heads), document["heads"]);
    }
}

/// A proof that was once given to somebody holds for ever, and says the same: by both verifiers.
#[test]
fn a_proof_that_was_given_holds() {
    bless();
    let file = fixtures().join(BUNDLE);
    let proved = sync_core::proof::verify(&std::fs::read(&file).unwrap()).unwrap();
    assert!(proved.summary.contains("\"Ask the manager\""), "{}", proved.summary);
    let Some(python) = tests::python::found() else { return };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("compat/bundle.py");
    let run = |words: &[&OsStr]| {
        let run = Command::new(python).arg("-B").arg(&script).args(words).output().unwrap();
        (run.status.code(), String::from_utf8([run.stdout, run.stderr].concat()).unwrap())
    };
    let key = proved.key.to_string();
    let (status, said) = run(&[file.as_ref(), key.as_ref()]);
    assert!(status == Some(0) && said.contains(" holds: visit "), "{said}");

    // What is wrong is a sentence too.
    for (words, means, part) in [
        (&[script.as_os_str()][..], 1, "does not hold. What is wrong: the container.\n"),
        (&["none".as_ref()], 2, "none cannot be read: "),
        (&[], 2, "bundle.py FILE [KEY]"),
        (&["--help".as_ref()], 0, "bundle.py FILE [KEY]"),
        (&["--flips".as_ref()], 2, "bundle.py FILE [KEY]"),
    ] {
        let (status, said) = run(words);
        assert_eq!(status, Some(means), "{words:?}: {said}");
        assert!(said.contains(part) && !said.contains("Traceback"), "{words:?}: {said}");
    }
}

/// docs/protocol.md is enough to compute all of this: `check.py` was written from it and knows no Rust.
#[test]
fn the_document_is_enough() {
    bless();
    let Some(python) = tests::python::found() else { return };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("compat/check.py");
    let run = Command::new(python).arg("-B").arg(script).arg(fixtures()).output();
    let output = run.unwrap();
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    eprintln!("{out}");
}
