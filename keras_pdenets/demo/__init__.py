"""A static page on which the shipped nets run in the browser and show what they do."""

from keras_pdenets.demo.writing import write_demo as write_demo
