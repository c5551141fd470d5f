#![no_main]

use tests::fuzz::codec;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    codec::prepare();
    let held = allocation_counter::measure(|| codec::run(data)).bytes_max;
    assert!(held <= codec::held_bytes_max(data), "{held} bytes were held");
});
