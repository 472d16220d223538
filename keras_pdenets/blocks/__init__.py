"""Residual blocks, made out of parts that the caller passes in."""
