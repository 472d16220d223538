"""The practitioner's whole job: a folder of own images in, a net for them out, with its report."""

from keras_pdenets.finetuning.report import FinetuneReport as FinetuneReport
from keras_pdenets.finetuning.run import finetune as finetune
