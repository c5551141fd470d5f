//! Three phones, one server and a bad network, replayed from seeds.
//!
//! `cargo test -p tests --test simulation` tells a fixed set of stories. `SEED=n` tells one of them;
//! `ENDCAP_SIM_SEEDS` and `ENDCAP_SIM_STEPS` tell more and longer ones, `ENDCAP_SIM_FROM` others.

mod meetings;
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

fn tell(seed: u64, steps: u64) {
    let mut world = World::new(seed);
    for _ in 0..steps {
        world.step();
    }
    world.come_to_rest();
    world.check();
}

#[test]
fn whatever_happens_everyone_ends_with_the_same_and_nothing_is_lost() {
    let steps = setting("ENDCAP_SIM_STEPS").unwrap_or(STEPS);
    let seeds = match setting("SEED") {
        Some(seed) => seed..seed + 1,
        None => {
            let first = setting("ENDCAP_SIM_FROM").unwrap_or(0);
            first..first + setting("ENDCAP_SIM_SEEDS").unwrap_or(SEEDS)
        }
    };
    for seed in seeds.clone() {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| tell(seed, steps))) {
            eprintln!("SEED={seed} ENDCAP_SIM_STEPS={steps} cargo test -p tests --test simulation");
            std::panic::resume_unwind(panic);
        }
        let (told, all) = (seed + 1 - seeds.start, seeds.end - seeds.start);
        if told.is_multiple_of(100) {
            eprintln!("{told} of {all} stories of {steps} steps ended well");
        }
    }
}
