"""Dead-letter queue: headers, store, replay, limit."""
