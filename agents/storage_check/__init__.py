"""Commands on the storage: its check, stored files by hand, and the adoption of a folder."""
