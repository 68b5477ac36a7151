"""The stage that executes the commands of operators and clients."""
