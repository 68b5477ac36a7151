"""The stage that keeps the state of each request and publishes exactly one result of it."""
