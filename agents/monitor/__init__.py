"""The stage that owns the state of circuit breakers and rate limits."""
