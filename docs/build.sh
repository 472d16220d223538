#!/usr/bin/env bash
# The API reference in docs/_build: pages with equations, types and sources.
set -euo pipefail
cd "$(dirname "$0")/.."
# On JAX: on torch the documentation of torch's own modules would stand in ours.
export KERAS_BACKEND="${KERAS_BACKEND:-jax}"
python="$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python)"
"$python" -m pdoc --docformat google --math --output-directory docs/_build \
    keras_pdenets '!keras_pdenets.cli' '!keras_pdenets.kerashub' '!keras_pdenets.search' "$@"
