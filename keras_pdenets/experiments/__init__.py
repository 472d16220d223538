"""Experiments: runs of a protocol of nets or of a sweep over depth, and their tables."""

from keras_pdenets.experiments.protocol import Entry as Entry
from keras_pdenets.experiments.protocol import Protocol as Protocol
from keras_pdenets.experiments.results import RunResult as RunResult
from keras_pdenets.experiments.results import read_results as read_results
from keras_pdenets.experiments.runner import dry_run as dry_run
from keras_pdenets.experiments.runner import run as run
from keras_pdenets.experiments.sweep import Sweep as Sweep
