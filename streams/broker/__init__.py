"""The embedded Kafka broker: pinned jars, configuration, state on disk, restarts."""
