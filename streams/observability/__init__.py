"""Metrics, logs, health checks, consumer lag, and the HTTP server that exposes them."""
