"""Models as lists of calls, and layers that wait for what can be merged into them."""
