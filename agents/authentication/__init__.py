"""Logging in to platforms: which account, with which cookies, and how it fares."""
