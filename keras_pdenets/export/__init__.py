"""Nets as files for other runtimes, their numbers compared before a file is kept."""

from keras_pdenets.export.exporting import ExportReport as ExportReport
from keras_pdenets.export.exporting import export as export
from keras_pdenets.export.formats import FORMATS as FORMATS
from keras_pdenets.export.int8 import Int8Report as Int8Report
from keras_pdenets.export.int8 import quantize_int8 as quantize_int8
from keras_pdenets.export.runtime import accuracy_of as accuracy_of
from keras_pdenets.export.runtime import open_exported as open_exported
