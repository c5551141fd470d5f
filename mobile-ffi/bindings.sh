#!/usr/bin/env bash
# Generates the bindings of libendcap: bindings.sh <python|kotlin|swift|all> [--out DIR] [--release]
# They go into DIR/<language>, by default target/bindings/<language>, and fit exactly the library that they
# were generated from; for Python it is put beside them. Bindings are never committed.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() { sed -n '2,4s/^# //p' "$0" >&2; exit 2; }

target="${CARGO_TARGET_DIR:-target}"
out="$target/bindings" languages=() profile=debug release=()
while [ $# -gt 0 ]; do
  case $1 in
    python | kotlin | swift) languages+=("$1") ;;
    all) languages=(python kotlin swift) ;;
    --out) out=${2:?--out needs a folder} && shift ;;
    --release) profile=release release=(--release) ;;
    *) usage ;;
  esac
  shift
done
[ "${#languages[@]}" -gt 0 ] || usage

case $(uname -s) in
  Darwin) library=libendcap.dylib ;;
  MINGW* | MSYS*) library=endcap.dll ;;
  *) library=libendcap.so ;;
esac

echo "building libendcap ($profile) and the generator of its bindings: many minutes the first time" >&2
cargo build --package mobile-ffi-library "${release[@]}"
cargo build --package mobile-ffi-bindgen
for language in "${languages[@]}"; do
  "$target/debug/uniffi-bindgen" "$target/$profile/$library" "$language" "$out/$language" >/dev/null
  if [ "$language" = python ]; then
    cp "$target/$profile/$library" "$out/python/"
  fi
  echo "$out/$language"
done
