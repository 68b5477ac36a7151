"""Platform accounts: cookie files, sessions with renewed cookies, health and selection."""
