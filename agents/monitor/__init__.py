"""Stage that owns the state of circuit breakers and adaptive rates."""
