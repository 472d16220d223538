"""From a finished run to a pinned preset, and from there to the Hub."""
