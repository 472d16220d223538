"""Plain nets as residual nets: what is cut (`chains`), how (`cutting`), and what came of it."""
