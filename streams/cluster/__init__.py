"""Clients of the Kafka cluster: security, producer, readers, topic administration."""
