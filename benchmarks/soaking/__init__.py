"""Parts of the soak: the load, its outcomes, and the resource usage of processes."""
