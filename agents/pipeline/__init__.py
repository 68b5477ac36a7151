"""Shared by all stages: decode an event, run the step, turn its outcome into records."""
