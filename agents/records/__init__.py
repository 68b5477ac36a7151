"""Messages as records: what agents read and write, whose it is, and what becomes of failures."""
