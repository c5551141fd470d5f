#!/usr/bin/env bash
# Brings what fuzz/run.sh has found for a target into its corpus: as few inputs as reach every place in the code
# that any of them reaches, beside the seeds, which stay.
set -euo pipefail
cd "$(dirname "$0")"

target=$1
host=$(rustc -vV | sed -n 's/^host: //p')
all=$(mktemp -d)
trap 'rm -rf "$all"' EXIT

mkdir "$all/found" "$all/kept"
cp "corpus/$target"/seed-* "$all/kept"
find "corpus/$target" "found/$target" -type f ! -name 'seed-*' -exec cp -t "$all/found" {} +
"${CARGO_TARGET_DIR:-target}/$host/release/$target" -merge=1 -set_cover_merge=1 -use_counters=0 "$all/kept" "$all/found"
find "corpus/$target" -type f ! -name 'seed-*' -delete
cp -n "$all/kept"/* "corpus/$target"
