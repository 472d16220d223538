"""Plain nets as residual nets: what is cut (`chains`), how (`graph`), and what came of it."""
