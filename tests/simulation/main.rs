//! Three phones, one server and a bad network, replayed from seeds.
//!
//! `cargo test -p tests --test simulation` tells a fixed set of stories. `SEED=n` tells one of them;
//! `ENDCAP_SIM_SEEDS` and `ENDCAP_SIM_STEPS` tell more and longer ones, `ENDCAP_SIM_FROM` others.

mod stories;

use std::panic::{AssertUnwindSafe, catch_unwind};

use tests::world::World;

const SEEDS: u64 = 60;
const STEPS: u64 = 400;

#[expect(clippy::disallowed_methods, reason = "how long to go on is the caller's choice")]
fn setting(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} is a number, not `{value}`")))
}

/// How many questions of repairs there were. A rotten world's disks lose something every few steps.
fn tell(seed: u64, steps: u64, rotten: bool) -> u64 {
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
    world.oracle.repairs
}

#[test]
fn whatever_happens_everyone_ends_with_the_same_and_nothing_is_lost() {
    tell_all(SEEDS, false);
}

#[test]
fn whatever_disks_lose_comes_back() {
    tell_all(SEEDS / 2, true);
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
    let mut repairs = 0;
    for seed in seeds.clone() {
        match catch_unwind(AssertUnwindSafe(|| tell(seed, steps, rotten))) {
            Ok(repaired) => repairs += repaired,
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
    assert!(!rotten || repairs > 0, "nothing was repaired");
}
