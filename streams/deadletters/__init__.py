"""The dead-letter queue: headers, store, replay."""
