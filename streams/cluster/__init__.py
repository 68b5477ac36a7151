"""Connections to the cluster: security, producer, readers, topic administration."""
