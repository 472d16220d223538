#!/usr/bin/env bash
# The site in docs/_build, or in the folder that is given: the API reference, with equations, types
# and sources, and the examples, run as notebooks, with their outputs.
#   pip install -e ".[all,docs]" && bash docs/build.sh
set -euo pipefail
cd "$(dirname "$0")/.."
out="${1:-docs/_build}"
python="$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python)"
# On JAX: on torch the documentation of torch's own modules would stand in ours.
KERAS_BACKEND=jax "$python" docs/reference.py "$out"
KERAS_BACKEND="${KERAS_BACKEND:-torch}" "$python" docs/notebooks.py "$out/examples"
