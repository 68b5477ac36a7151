"""Check of the storage: each operation once, conditions, and the bucket's rules."""
