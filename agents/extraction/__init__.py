"""The stage that extracts pages: caches, the extractor engine, accounts, listings."""
