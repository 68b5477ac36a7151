"""Runs stages: consumption, back-pressure, offset tracking, delay queue, stall detector."""
