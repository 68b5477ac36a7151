"""Format selection by explicit rules. Pure."""
