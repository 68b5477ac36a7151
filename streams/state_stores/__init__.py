"""State stores: the rows of the tables, in memory or on disk."""
