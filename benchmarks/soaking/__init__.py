"""Parts of the soak: the load, its outcomes, and what processes use meanwhile."""
