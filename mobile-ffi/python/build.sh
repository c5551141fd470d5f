#!/usr/bin/env bash
# Builds the Python wheel of this machine into target/python/wheel and prints its path.
exec python3 -B "$(dirname "$0")/backend.py" "$@"
