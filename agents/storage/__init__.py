"""Storage of finished files: the interface, and the implementation in a local directory."""
