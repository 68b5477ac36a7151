"""Accounts of platforms: cookie files, sessions that renew themselves, health."""
