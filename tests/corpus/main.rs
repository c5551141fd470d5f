//! What fuzzing has kept, replayed without a fuzzer: `fuzz/corpus` and `fuzz/crashers`.
//!
//! The files named `seed-…` are written by hand, in `seeds.rs`; `ENDCAP_BLESS=1` writes them anew. Each known
//! hazard of Automerge is among them, with what becomes of it.

#![expect(clippy::unwrap_used, reason = "a corpus that cannot be read fails the test")]

mod seeds;

use std::path::{Path, PathBuf};

use sync_core::document::{Document, Entry};
use sync_core::id::{Actor, DocId, DocKind};
use sync_core::model::capture::Moment;
use sync_core::model::visit::{
    Act, Observation, Observations, Observed, Recording, Subject, Value, Versioned,
};
use sync_core::visit::Visit;
use tests::brand::{ORG, RITA};
use tests::fuzz::{admission, codec, evidence, http};

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

/// The inputs of a target that are kept in a folder.
fn kept(folder: &str, target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = std::fs::read_dir(fuzz().join(folder).join(target)).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

/// Runs a target on all that is kept for it, naming the input that it fails on.
fn replay(target: &str, run: impl Fn(&[u8])) {
    let corpus = kept("corpus", target);
    assert!(!corpus.is_empty());
    for (path, data) in corpus.into_iter().chain(kept("crashers", target)) {
        let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(&data)));
        assert!(ran.is_ok(), "{}", path.display());
    }
}

#[test]
fn codec() {
    seeds::bless();
    codec::prepare();
    replay("codec", |data| {
        let held = allocation_counter::measure(|| codec::run(data)).bytes_max;
        assert!(held <= codec::held_bytes_max(data), "{held} bytes were held for {}", data.len());
    });
}

#[test]
fn evidence() {
    seeds::bless();
    evidence::prepare();
    replay("evidence", |data| {
        let held = allocation_counter::measure(|| evidence::run(data)).bytes_max;
        assert!(
            held <= evidence::held_bytes_max(data),
            "{held} bytes were held for {}",
            data.len()
        );
    });
}

#[test]
fn admission() {
    seeds::bless();
    replay("admission", |data| drop(admission::run(data)));
}

#[test]
fn http() {
    seeds::bless();
    replay("http", |data| drop(http::run(data)));
}

#[test]
fn the_seeds_are_in_the_corpus() {
    seeds::bless();
    for target in ["codec", "admission", "http"] {
        let here = kept("corpus", target).into_iter().filter_map(|(path, data)| {
            let name =
                path.file_name().unwrap().to_str().unwrap().strip_prefix("seed-")?.to_owned();
            Some((name, data))
        });
        let here: Vec<(String, Vec<u8>)> = here.collect();
        let mut seeds = seeds::of(target);
        seeds.sort();
        let names = |seeds: &[(String, Vec<u8>)]| -> Vec<String> {
            seeds.iter().map(|(name, _)| name.clone()).collect()
        };
        assert_eq!(names(&here), names(&seeds), "ENDCAP_BLESS=1 writes them");
        assert!(here == seeds, "a seed of {target} has changed; ENDCAP_BLESS=1 writes it");
    }
}

#[test]
fn each_hazard_ends_as_it_should() {
    for (name, story, outcome) in seeds::hazards() {
        let outcomes = admission::run(&story);
        assert_eq!(outcomes.last(), Some(&outcome), "{name}: {outcomes:?}");
    }
    for (name, data, outcome) in seeds::http_hazards() {
        let outcomes = http::run(&data);
        assert!(outcomes.iter().any(|o| o == outcome), "{name}: {outcomes:?}");
    }
    for (name, bytes) in seeds::unreadable() {
        assert!(seeds::reads(&seeds::plain()), "the group reads if nothing is wrong with it");
        assert!(!seeds::reads(&bytes), "{name} reads");
    }
}

/// Each recording says a thousand new things, and that it replaces all that were before it.
#[test]
fn a_document_of_corrections_is_read_in_little_memory() {
    let (id, actor) = (DocId { kind: DocKind::Visit, id: [2; 16] }, Actor::from_bytes([3; 16]));
    let mut document = Document::new(ORG, id);
    let mut supersedes = Vec::new();
    let fact = |check| {
        let value = Value::YesNo(true);
        Observation { check, subject: Subject::Outlet, value }
    };
    for round in 0..60 {
        let act = Act::Observe(Observed {
            template: Versioned { number: 1, version: 1 },
            planograms: Vec::new(),
            price_list: None,
            observations: Observations((1_000 * round..1_000 * (round + 1)).map(fact).collect()),
            photos: Vec::new(),
            supersedes: supersedes.clone(),
        });
        let when = Moment { wall_ms: 0, boot: 0, boot_ms: 0, anchor: 0, skew_ms: None, life: None };
        let entry = Entry::Recording(Recording { by: RITA, when, place: None, act });
        entry.validate().unwrap();
        let change = document.next(actor, &entry).unwrap();
        supersedes.push(change.hash());
        document.insert(change).unwrap();
    }
    let mut live = 0;
    let held = allocation_counter::measure(|| live = Visit::read(&document).values.len());
    assert_eq!(live, 60_000);
    assert!(held.bytes_max < 64 << 20, "{} bytes were held", held.bytes_max);
}
