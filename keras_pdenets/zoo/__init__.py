"""Many nets, trained alike: the runs of a protocol, and the table that they make."""

from keras_pdenets.zoo.protocol import Entry as Entry
from keras_pdenets.zoo.protocol import Protocol as Protocol
from keras_pdenets.zoo.results import Result as Result
from keras_pdenets.zoo.results import read_results as read_results
from keras_pdenets.zoo.running import dry_run as dry_run
from keras_pdenets.zoo.running import run_protocol as run_protocol
