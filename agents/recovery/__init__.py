"""Stage that decides about failures: retry, park, change, dead letter or fail."""
