#!/usr/bin/env bash
# Makes the console's pictures anew, from the demo at work, in a real browser: the top of each page, which is what the
# docs are about, and small enough for whoever clones the repository.
set -euo pipefail
cd "$(dirname "$0")/../.."
ENDCAP_PICTURES="$PWD/target/pictures" ENDCAP_PICTURES_HEIGHT=1500 ENDCAP_REQUIRE_SERVICES=1 \
  cargo test -p tests --test browser
for page in overview visit scorecard; do
  for look in desk-light desk-dark phone-light; do
    cp "target/pictures/$page-$look.png" "docs/pictures/$page-$look.png"
  done
done
