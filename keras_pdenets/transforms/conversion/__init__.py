"""Convolutions of a trained net as operators of another kind, by least squares on their outputs."""
