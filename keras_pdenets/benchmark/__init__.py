"""Benchmarks: nets against their peers, in one run, in turn."""

from keras_pdenets.benchmark.case import Case as Case
from keras_pdenets.benchmark.results import Timing as Timing
from keras_pdenets.benchmark.runner import Setting as Setting
from keras_pdenets.benchmark.runner import run_benchmark as run_benchmark
