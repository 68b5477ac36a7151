"""The stage that reads pages: caches, the extractor engine, listings."""
