#![no_main]

use tests::fuzz::evidence;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    evidence::prepare();
    let held = allocation_counter::measure(|| evidence::run(data)).bytes_max;
    assert!(held <= evidence::held_bytes_max(data), "{held} bytes were held");
});
