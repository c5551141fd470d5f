#!/usr/bin/env bash
# Fuzzes one target for some seconds with the stable compiler: fuzz/run.sh TARGET SECONDS [libFuzzer's options].
#
# cargo-fuzz asks for a nightly compiler, and needs it only for the address sanitizer. The instrumentation that
# guides libFuzzer is a pass of LLVM, which every compiler has (docs/adr/0015).
set -euo pipefail
cd "$(dirname "$0")"

target=$1
seconds=$2
shift 2

host=$(rustc -vV | sed -n 's/^host: //p')
coverage="-Cpasses=sancov-module -Ccodegen-units=1"
for option in level=4 inline-8bit-counters pc-table trace-compares; do
  coverage+=" -Cllvm-args=-sanitizer-coverage-$option"
done
RUSTFLAGS="$coverage --cfg fuzzing" cargo build --release --target "$host" --bin "$target"

# libFuzzer writes what is new to the first folder. fuzz/keep.sh brings the best of it into the corpus.
mkdir -p "found/$target" "crashers/$target"
exec "${CARGO_TARGET_DIR:-target}/$host/release/$target" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 \
  -artifact_prefix="crashers/$target/" "$@" "found/$target" "corpus/$target"
