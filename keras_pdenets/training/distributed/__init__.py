"""One training run on several devices, in the way of each backend."""
