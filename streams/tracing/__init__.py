"""Traces of requests: W3C Trace Context on every record, spans for OpenTelemetry when it is on."""
