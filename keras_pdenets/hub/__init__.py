"""Weight files: strict reading and writing, and sources verified by hash."""
