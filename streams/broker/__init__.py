"""Embedded Kafka broker: pinned jars, configuration, state on disk, supervised restarts."""
