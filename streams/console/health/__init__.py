"""The health of the service as the console knows it: facts, and the problems that they show."""
