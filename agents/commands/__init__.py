"""The stage that executes commands of operators and clients."""
