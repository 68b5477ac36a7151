"""Verification and remuxing of downloaded media, in sandboxed processes."""
