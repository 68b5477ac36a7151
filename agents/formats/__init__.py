"""Format selection by explicit rules."""
