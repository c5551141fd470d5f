#!/usr/bin/env bash
# Brings what fuzz/run.sh has found for a target into its corpus: as few inputs as reach every place in the code
# that any of them reaches, beside the seeds, which stay.
set -euo pipefail
cd "$(dirname "$0")"

target=$1
host=$(rustc -vV | sed -n 's/^host: //p')
kept=$(mktemp -d)
trap 'rm -rf "$kept"' EXIT

cp "corpus/$target"/seed-* "$kept"
"${CARGO_TARGET_DIR:-target}/$host/release/$target" -merge=1 -set_cover_merge=1 -use_counters=0 -use_cmp=0 \
  "$kept" "corpus/$target" "found/$target"
find "corpus/$target" -type f ! -name 'seed-*' -delete
cp "$kept"/* "corpus/$target"
