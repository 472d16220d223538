"""Many nets, trained alike: the runs of a protocol or of a sweep over depth, and their tables."""

from keras_pdenets.experiments.protocol import Entry as Entry
from keras_pdenets.experiments.protocol import Protocol as Protocol
from keras_pdenets.experiments.results import Result as Result
from keras_pdenets.experiments.results import read_results as read_results
from keras_pdenets.experiments.running import dry_run as dry_run
from keras_pdenets.experiments.running import run_protocol as run_protocol
from keras_pdenets.experiments.sweep import Sweep as Sweep
from keras_pdenets.experiments.sweep import run_sweep as run_sweep
