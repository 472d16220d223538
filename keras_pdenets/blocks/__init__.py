"""Residual blocks, built from a layer factory that the caller passes."""
