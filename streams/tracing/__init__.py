"""Distributed tracing: W3C Trace Context on every record, OpenTelemetry spans when enabled."""
