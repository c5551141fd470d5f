//! A client without any Rust, against the real server and beside the real library: `client.py` follows
//! docs/protocol.md, and `phone.py` lets this test tell it what to do.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use automerge::Automerge;
use endcap_mobile::{Client, Found, Observation, Subject, Value};
use serde_json::{Value as Json, json};
use sync_core::document::Document;
use sync_core::id::{Gtin, VisitId};
use sync_core::model::catalogue::{Product, Record};
use tests::brand::{self, ORG, RITA, SAM, checks};

use crate::hex;
use crate::office::{self, Folder, Office, RUNTIME};

/// Enough that nobody can be told all of it in one page.
const MORE_PRODUCTS: u64 = 9_000;
const PHOTO_PIECE: u64 = 256 << 10;

/// The second implementation, as a process.
pub(crate) struct Phone {
    child: Child,
    ears: ChildStdin,
    mouth: BufReader<ChildStdout>,
}

impl Phone {
    pub(crate) fn start(python: &str, folder: &Path) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("compat/phone.py");
        let mut command = Command::new(python);
        command.arg("-B").arg(script).arg(folder).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (ears, mouth) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, ears, mouth: BufReader::new(mouth) }
    }

    /// Its answer; `None` if it died of it.
    fn try_tell(&mut self, command: &Json) -> Option<Json> {
        writeln!(self.ears, "{command}").unwrap();
        let mut line = String::new();
        self.mouth.read_line(&mut line).unwrap();
        (!line.is_empty()).then(|| serde_json::from_str(&line).unwrap())
    }

    pub(crate) fn tell(&mut self, command: Json) -> Json {
        self.try_tell(&command).unwrap_or_else(|| panic!("it died of {command}"))
    }

    pub(crate) fn sync(&mut self) -> Json {
        self.tell(json!({ "do": "sync" }))
    }

    pub(crate) fn visit(&mut self, visit: VisitId) -> Json {
        self.tell(json!({ "do": "visit", "visit": hex(visit.as_bytes()) }))
    }
}

impl Drop for Phone {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended
        let _ = self.child.wait();
    }
}

fn product(number: u64) -> Record {
    let stem = 8_904_000_300_000 + number * 10;
    let gtin = (stem..stem + 10).find_map(|n| Gtin::from_u64(n).ok()).unwrap();
    let (name, brand, category) = (format!("Rye {number}"), "Other".into(), "bread".into());
    let (width_mm, height_mm, colour) = (90, 200, 0);
    Record::Product(Product {
        gtin,
        name,
        brand,
        category,
        own: false,
        width_mm,
        height_mm,
        colour,
    })
}

pub(crate) fn price(place: usize, minor: i64) -> Observation {
    let subject = Subject::Product { gtin: brand::product(place).to_string() };
    let value = Value::Price { minor, currency: "EUR".into() };
    Observation { check: checks::PRICE, subject, value }
}

/// An observation as CBOR has it.
fn said(check: u32, subject: Json, value: Json) -> Json {
    json!([check, subject, value])
}

pub(crate) fn said_price(place: usize, minor: i64) -> Json {
    let gtin: u64 = brand::product(place).to_string().parse().unwrap();
    said(checks::PRICE, json!([1, gtin]), json!([1, minor, "EUR"]))
}

/// What the library shows of a visit, as `phone.py` says it: values, conflicts, recordings.
fn shown(client: &Client, visit: VisitId) -> Json {
    let shown = client.visit(visit.to_string()).unwrap();
    let entry = |held: &endcap_mobile::Held| {
        let mut said: Vec<Json> = held.said.iter().map(|said| value(&said.value)).collect();
        said.sort_by_key(Json::to_string);
        json!({ "check": held.check, "subject": subject(&held.subject), "said": said })
    };
    let recordings: Vec<&str> = shown.recordings.iter().map(|r| r.id.as_str()).collect();
    let submitted: BTreeSet<&str> =
        shown.recordings.iter().filter(|r| r.submitted).map(|r| r.id.as_str()).collect();
    json!({
        "status": shown.status,
        "values": shown.values.iter().map(entry).collect::<Vec<_>>(),
        "conflicts": shown.values.iter().filter(|h| h.conflict).map(entry).collect::<Vec<_>>(),
        "recordings": recordings,
        "submitted": submitted,
    })
}

fn subject(subject: &Subject) -> Json {
    match subject {
        Subject::Position { planogram, position } => json!([0, planogram, position]),
        Subject::Product { gtin } => json!([1, gtin.parse::<u64>().unwrap()]),
        Subject::Outlet => json!([4]),
        other => panic!("nobody has said anything of {other:?}"),
    }
}

fn value(value: &Value) -> Json {
    match value {
        Value::Shelf { facings, in_stock, found: Found::AsPlanned } => {
            json!([0, facings, in_stock])
        }
        Value::Price { minor, currency } => json!([1, minor, currency]),
        Value::Text { text } => json!([7, text]),
        other => panic!("nobody has said {other:?}"),
    }
}

/// Only what both sides say.
fn common(mut visit: Json) -> Json {
    let sides = ["status", "values", "conflicts", "recordings", "submitted"];
    visit.as_object_mut().unwrap().retain(|name, _| sides.contains(&name.as_str()));
    visit
}

/// The server's document and the client's are one: heads, every chunk, and Automerge reads both alike.
pub(crate) fn same_document(server: &Document, client: &Json) {
    let heads: Vec<String> = server.heads().iter().map(|h| hex(&h.0)).collect();
    assert_eq!(client["heads"], json!(heads));
    let load = |bytes: &[u8]| {
        let file = Automerge::load(bytes).unwrap();
        let changes: BTreeSet<Vec<u8>> =
            file.get_changes(&[]).iter().map(|c| c.raw_bytes().to_vec()).collect();
        (file.get_heads().into_iter().map(|h| h.0).collect::<BTreeSet<_>>(), changes)
    };
    let theirs = load(&crate::unhex(&client["automerge"]));
    assert_eq!(theirs, load(&server.to_automerge().unwrap()));
    assert_eq!(theirs.1.len(), server.changes().len() + 1);
}

#[test]
fn a_client_that_shares_no_code_syncs_visits() {
    let Some(python) = tests::python::found() else { return };
    let folder = Folder::new("visits");
    let office = Office::found(&folder.0.join("server"), &[]);
    let numbers = (0..MORE_PRODUCTS).collect::<Vec<_>>();
    for some in numbers.chunks(MORE_PRODUCTS as usize / 3) {
        let products = some.iter().map(|number| product(*number)).collect();
        RUNTIME.block_on(office.app.write_records(&office.tenant, products)).unwrap();
    }
    let place = folder.0.join("second");
    let mut rita = Phone::start(python, &place);
    let (call, other) = (brand::call(0), brand::call(1));
    let visit = VisitId::of_call(ORG, call);
    let id = hex(visit.as_bytes());

    // She enrols, and is told of everything in pages.
    rita.tell(json!({ "do": "enrol", "server": office.url, "code": office.code(RITA) }));
    let first = rita.sync();
    assert!(first["pages"].as_u64().unwrap() > 2, "{first}");
    let held = rita.tell(json!({ "do": "held" }));
    assert!(held["records"].as_u64().unwrap() > MORE_PRODUCTS);
    assert_eq!(held["cursor"][1], office.logged());
    let sam = office::phone(&folder.0.join("sam"));
    office::enrol(&sam, &office.url, &office.code(SAM)).unwrap();
    office::sync(&sam).unwrap();

    // Both work on one call without a network, and disagree on a price.
    let before = office.logged();
    assert_eq!(rita.tell(json!({ "do": "start", "call": hex(call.as_bytes()) })), json!(id));
    let shelf = [
        said(checks::PLANOGRAM, json!([0, 1, 1]), json!([0, 3, true])),
        said(checks::PLANOGRAM, json!([0, 1, 2]), json!([0, 0, false])),
        said_price(0, 219),
    ];
    rita.tell(json!({ "do": "record", "visit": id, "observations": shelf }));
    // She corrects herself: her own value is replaced.
    let photos = rita.tell(
        json!({ "do": "record", "visit": id, "observations": [said_price(0, 249)], "photo": 5 }),
    );
    rita.tell(
        json!({ "do": "words", "visit": id, "check": checks::WORDS, "text": "Höchst rutschig" }),
    );
    rita.tell(json!({ "do": "submit", "visit": id }));
    let started = sam.start_call(call.to_string()).unwrap();
    assert_eq!(started, visit.to_string());
    sam.record(started.clone(), vec![price(0, 279), price(1, 199)], Vec::new()).unwrap();
    sam.submit(started.clone()).unwrap();
    assert_eq!(office.logged(), before);

    // What she saved survives her process; the first upload is cut, the second goes on from there.
    drop(rita);
    let mut rita = Phone::start(python, &place);
    assert_eq!(rita.visit(visit)["pending"], 5);
    assert_eq!(rita.try_tell(&json!({ "do": "sync", "dies_uploading": true })), None);
    drop(rita);
    let mut rita = Phone::start(python, &place);
    let sent = rita.visit(visit);
    assert_eq!((&sent["pending"], &sent["refused"]), (&json!(0), &Json::Null));
    let went_on = rita.sync();
    let length = photos[0][1].as_u64().unwrap();
    assert_eq!(went_on["offsets"][0], PHOTO_PIECE);
    assert_eq!(went_on["offsets"].as_array().unwrap().last(), Some(&json!(length)));
    assert_eq!(office.count("SELECT count(*) FROM blob WHERE org = ?1"), 1);

    // Both see all of it, the conflict with both values too.
    office::sync(&sam).unwrap();
    rita.sync();
    let (hers, his) = (rita.visit(visit), shown(&sam, visit));
    assert_eq!(common(hers.clone()), his);
    assert_eq!(hers["status"], "submitted");
    let disputed = said_price(0, 0);
    let both = json!([[1, 249, "EUR"], [1, 279, "EUR"]]);
    let conflict = json!({ "check": checks::PRICE, "subject": disputed[1], "said": both });
    assert_eq!(hers["conflicts"], json!([conflict]));
    let values = hers["values"].as_array().unwrap();
    assert_eq!(values.len(), 5);
    let says = |check: u32, subject: Json| {
        let found = values.iter().find(|v| v["check"] == check && v["subject"] == subject);
        found.unwrap()["said"].clone()
    };
    assert_eq!(says(checks::PLANOGRAM, json!([0, 1, 1])), json!([[0, 3, true]]));
    assert_eq!(says(checks::PRICE, said_price(1, 0)[1].clone()), json!([[1, 199, "EUR"]]));
    assert_eq!(says(checks::WORDS, json!([4])), json!([[7, "Höchst rutschig"]]));
    let seen = sam.visit(started.clone()).unwrap();
    let photo: Vec<&String> = seen.recordings.iter().flat_map(|r| &r.photos).collect();
    assert_eq!(json!(photo), json!([photos[0][0]]));
    same_document(&office.document(visit), &hers);

    // Nothing new is one small round trip.
    let quiet = rita.sync();
    assert_eq!((&quiet["requests"], &quiet["pages"]), (&json!(1), &json!(1)));
    assert!(quiet["received"].as_u64().unwrap() < 100, "{quiet}");

    // She settles it. What he writes next stands on the heads that she has.
    let settled = said_price(0, 259);
    rita.tell(json!({ "do": "record", "visit": id, "observations": [settled], "settle": true }));
    rita.sync();
    office::sync(&sam).unwrap();
    let hers = rita.visit(visit);
    assert_eq!(hers["conflicts"], json!([]));
    assert_eq!(common(hers.clone()), shown(&sam, visit));
    sam.comment(started, "Thank you".into(), None).unwrap();
    office::sync(&sam).unwrap();
    let document = office.document(visit);
    let newest = document.changes().last().unwrap();
    let deps: Vec<String> = newest.deps.iter().map(|d| hex(&d.0)).collect();
    assert_eq!(json!(deps), hers["heads"]);

    // A page with a seal that does not verify is refused whole.
    let forged = rita.tell(json!({ "do": "sync", "spoil_pages": true }));
    assert!(forged["refused"].as_str().unwrap().starts_with("Forged"), "{forged}");
    assert_eq!(rita.visit(visit), hers);
    rita.sync();
    let hers = rita.visit(visit);
    same_document(&document, &hers);

    // A cursor that the log never had: she goes back to the beginning and ends where she was.
    let before = office.logged();
    rita.tell(json!({ "do": "lose_place" }));
    let rewound = rita.sync();
    assert_eq!((&rewound["rewinds"], &rewound["outcomes"]), (&json!(1), &json!([])));
    assert_eq!(office.logged(), before);
    assert_eq!(rita.visit(visit), hers);

    // A seal that she spoils is refused, and what else was in the push is not.
    let spoilt = VisitId::of_call(ORG, other);
    let fine = VisitId::of_call(ORG, brand::call(4));
    for call in [other, brand::call(4)] {
        rita.tell(json!({ "do": "start", "call": hex(call.as_bytes()) }));
    }
    let pushed = rita.tell(json!({ "do": "sync", "spoil_seals_of": [hex(spoilt.as_bytes())] }));
    assert_eq!(pushed["outcomes"], json!(["bad_seal", "accepted"]));
    assert_eq!(office.document(spoilt).changes().len(), 0);
    assert_eq!(rita.visit(spoilt)["refused"][0], "bad_seal");
    same_document(&office.document(fine), &rita.visit(fine));
    let submitted = rita.tell(json!({ "do": "submit", "visit": hex(spoilt.as_bytes()) }));
    assert_eq!(submitted["refused"], "bad_seal");
    assert_eq!(rita.sync()["outcomes"], json!([]));

    // She says it again as another actor, and it is taken.
    rita.tell(json!({ "do": "propose", "visit": hex(spoilt.as_bytes()) }));
    assert_eq!(rita.sync()["outcomes"], json!(["accepted"]));
    same_document(&office.document(spoilt), &rita.visit(spoilt));
    assert_eq!(rita.tell(json!({ "do": "submit", "visit": hex(spoilt.as_bytes()) })), Json::Null);
    assert_eq!(rita.sync()["outcomes"], json!(["accepted"]));
    drop(rita);
    office.close();
}
