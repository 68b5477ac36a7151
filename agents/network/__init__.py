"""Outbound HTTP: egress proxies, trusted roots, SSRF guard, media downloads."""
