"""Where finished files are kept: the protocol, and the store in a local directory."""
