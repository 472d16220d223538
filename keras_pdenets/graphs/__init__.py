"""Functional models as graphs of calls, and the names of their blocks."""
