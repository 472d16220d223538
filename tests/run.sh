#!/usr/bin/env bash
# The tests, on a fresh machine too: makes .venv and installs what is missing.
#   bash tests/run.sh        minutes: lint, types, one backend, golden logits on the other two
#   bash tests/run.sh rest   what CI runs besides, in its 40 minutes: doctests, torch's slow tests,
#                            the tests that are not slow on the other two
#   bash tests/run.sh full   everything on the three backends
# Further arguments go to pytest: bash tests/run.sh full -k layers
set -euo pipefail
cd "$(dirname "$0")/.."

tier=default
case "${1:-}" in rest | full) tier=$1 && shift ;; esac

python=.venv/bin/python
[ -x "$python" ] || python3 -m venv .venv
"$python" -m pip install --quiet torch==2.13.0
extras=all && [ $tier != full ] || extras=all,docs
"$python" -m pip install --quiet -e ".[$extras]"

# One thread for each of two processes: faster than two threads, whatever else the machine does.
export OMP_NUM_THREADS=1 TF_CPP_MIN_LOG_LEVEL=3
export JAX_COMPILATION_CACHE_DIR="${JAX_COMPILATION_CACHE_DIR:-$PWD/.venv/jax_cache}"
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0 JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES=-1
# What runs once or twice is not worth optimizing: JAX's tests take a third less time.
export XLA_FLAGS="--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"

failed=0
part=$# # with arguments for pytest, a tier may have nothing to run
tests() { # backend, options of pytest
    echo "== $*"
    KERAS_BACKEND=$1 "$python" -m pytest -q -n 2 --dist loadfile "${@:2}" ||
        { [ $? -eq 5 ] && [ $part -gt 0 ]; } || failed=1 # the other tests run all the same
}

golden() { # backend
    KERAS_BACKEND=$1 "$python" -m pytest -q -m golden -k 20 tests/test_models.py \
        > .venv/golden_$1.log 2>&1
}

if [ $tier != rest ]; then
    .venv/bin/ruff check .
    .venv/bin/ruff format --check .
    .venv/bin/lint-imports
    .venv/bin/mypy keras_pdenets
    .venv/bin/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
    tests torch -m "not slow" "$@"
    # The smallest of each family, one process for each backend: half of it is their imports.
    if [ $part = 0 ]; then
        golden tensorflow &
        golden jax || failed=1
        cat .venv/golden_jax.log
        wait $! || failed=1
        cat .venv/golden_tensorflow.log
    fi
fi
if [ $tier != default ]; then
    [ $part -gt 0 ] || tests torch --doctest-modules keras_pdenets
    slow="slow and not site" && [ $tier != full ] || slow=slow
    tests torch -m "$slow" "$@"
    others=() && [ $tier = full ] || others=(-m "not slow")
    for backend in tensorflow jax; do
        tests $backend ${others[@]+"${others[@]}"} "$@"
    done
fi
exit $failed
