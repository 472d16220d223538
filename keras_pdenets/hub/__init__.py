"""Weight files: read and written strictly, found by their hash."""
