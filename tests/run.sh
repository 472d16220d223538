#!/usr/bin/env bash
# All checks, on a fresh machine too: makes .venv, installs what is missing, runs lint, types and
# the tests on the three backends. Arguments go to pytest: bash tests/run.sh -k layers
set -euo pipefail
cd "$(dirname "$0")/.."

python=.venv/bin/python
[ -x "$python" ] || python3 -m venv .venv
"$python" -m pip install --quiet torch==2.13.0
"$python" -m pip install --quiet -e ".[all]"

# One thread for each of two processes: faster than two threads, whatever else the machine does.
export OMP_NUM_THREADS=1 TF_CPP_MIN_LOG_LEVEL=3
export JAX_COMPILATION_CACHE_DIR="${JAX_COMPILATION_CACHE_DIR:-$PWD/.venv/jax_cache}"
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0 JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES=-1

bin=.venv/bin
"$bin/ruff" check .
"$bin/ruff" format --check .
"$bin/lint-imports"
"$bin/mypy" keras_pdenets
if [ $# -eq 0 ]; then
    KERAS_BACKEND=torch "$python" -m pytest -q --doctest-modules keras_pdenets
fi
# Data, command line and argument checks do not depend on the backend: their tests run once.
skip=()
for backend in tensorflow jax torch; do
    echo "== $backend"
    KERAS_BACKEND=$backend "$python" -m pytest -q -n 2 --dist loadfile ${skip[@]+"${skip[@]}"} "$@"
    skip=(--ignore=tests/test_data.py --ignore=tests/test_entry.py --ignore=tests/test_arguments.py)
done
