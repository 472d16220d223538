"""Benchmarks: nets against their peers, in one run, in turn."""

from keras_pdenets.benchmark.contender import Contender as Contender
from keras_pdenets.benchmark.race import Setting as Setting
from keras_pdenets.benchmark.race import run_benchmark as run_benchmark
from keras_pdenets.benchmark.results import Result as Result
