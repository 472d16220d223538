"""Helpers for every layer of the package, independent of Keras."""
