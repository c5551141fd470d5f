//! Three phones, one server and a bad network, replayed from seeds.
//!
//! `cargo test -p tests --test simulation` tells a fixed set of stories. `SEED=n` tells one of them;
//! `ENDCAP_SIM_SEEDS` and `ENDCAP_SIM_STEPS` tell more and longer ones, `ENDCAP_SIM_FROM` others.

mod fates;
mod meetings;
mod restored;
mod stories;

use std::panic::{AssertUnwindSafe, catch_unwind};

use tests::oracle::Oracle;
use tests::world::World;

const SEEDS: u64 = 60;
const STEPS: u64 = 400;

#[expect(clippy::disallowed_methods, reason = "how long to go on is the caller's choice")]
fn setting(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} is a number, not `{value}`")))
}

/// What has happened in a world.
#[derive(Default)]
struct Told {
    /// Histories of outlets that have gone on in a second volume.
    volumes: usize,
    /// Questions of repairs.
    repairs: u64,
    /// Pages after which there were more.
    pages: u64,
    /// Crashes of phones between two pages.
    stumbled: u64,
    /// Phones that were put back to an earlier copy of themselves.
    put_back: usize,
}

/// A rotten world's disks lose something every few steps.
fn tell(seed: u64, steps: u64, rotten: bool) -> Told {
    let world = tell_of(seed, steps, rotten);
    let documents = world.server.documents();
    let volumes = documents.iter().filter(|document| document.is_later_volume()).count();
    let Oracle { repairs, pages, stumbled, .. } = world.oracle;
    Told { volumes, repairs, pages, stumbled, put_back: world.oracle.put_back.len() }
}

fn tell_of(seed: u64, steps: u64, rotten: bool) -> World {
    let mut world = World::new(seed);
    for step in 0..steps {
        world.step();
        if rotten && step % 16 == 0 {
            let device = world.chance.index(world.devices.len());
            world.rot(device);
        }
    }
    world.come_to_rest();
    world.check();
    world
}

#[test]
fn whatever_happens_everyone_ends_with_the_same_and_nothing_is_lost() {
    tell_all(SEEDS, false);
}

/// What other seeds found that no story of its own tells. 108000044: a part of the tree moves below somebody who means harm.
/// 112000919: a supervisor lets in what only the quarantine had left. 112000987: what was discarded comes into the record by
/// another way, and what is left on its phone is offered anew.
#[test]
fn what_was_found_once_is_not_found_again() {
    for seed in [108_000_044, 112_000_919, 112_000_987] {
        tell(seed, STEPS, false);
    }
}

#[test]
fn whatever_disks_lose_comes_back() {
    tell_all(SEEDS / 2, true);
}

#[test]
fn a_story_that_is_told_again_is_the_same() {
    for seed in [0, 3, 4] {
        let [first, again] = [(); 2].map(|()| tell_of(seed, STEPS, false));
        let apart = first.story.iter().zip(&again.story).find(|(line, other)| line != other);
        assert_eq!(apart, None, "of seed {seed}");
        assert_eq!(first.server.dump(&[]), again.server.dump(&[]), "of seed {seed}");
    }
}

fn tell_all(seeds: u64, rotten: bool) {
    let steps = setting("ENDCAP_SIM_STEPS").unwrap_or(STEPS);
    let seeds = match setting("SEED") {
        Some(seed) => seed..seed + 1,
        None => {
            let first = setting("ENDCAP_SIM_FROM").unwrap_or(0);
            first..first + setting("ENDCAP_SIM_SEEDS").unwrap_or(seeds)
        }
    };
    let mut all_told = Told::default();
    for seed in seeds.clone() {
        match catch_unwind(AssertUnwindSafe(|| tell(seed, steps, rotten))) {
            Ok(told) => {
                all_told.volumes += told.volumes;
                all_told.repairs += told.repairs;
                all_told.pages += told.pages;
                all_told.stumbled += told.stumbled;
                all_told.put_back += told.put_back;
            }
            Err(panic) => {
                eprintln!(
                    "SEED={seed} ENDCAP_SIM_STEPS={steps} cargo test -p tests --test simulation"
                );
                std::panic::resume_unwind(panic);
            }
        }
        let (told, all) = (seed + 1 - seeds.start, seeds.end - seeds.start);
        if told.is_multiple_of(100) {
            eprintln!("{told} of {all} stories of {steps} steps ended well");
        }
    }
    // Of the fixed stories it is known what happens in them; in a hundred others all of this may fail to.
    let few = if seeds.start == 0 { SEEDS / 2 } else { 10 * SEEDS };
    if seeds.end - seeds.start < few || steps < STEPS {
        return;
    }
    assert!(all_told.pages > 0, "every pull was one page");
    assert!(all_told.stumbled > 0, "no phone crashed between two pages");
    match rotten {
        true => assert!(all_told.repairs > 0, "nothing was repaired"),
        false => {
            assert!(all_told.volumes > 0, "no outlet's history went on in a second volume");
            assert!(all_told.put_back > 0, "no phone was put back to an earlier copy of itself");
        }
    }
}
