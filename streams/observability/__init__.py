"""Metrics, logs, health, lag and the HTTP server that serves them."""
