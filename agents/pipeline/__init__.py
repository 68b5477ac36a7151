"""The kit of all stages: decode an event, run the step, turn the outcome into records."""
