"""The console: pages and an HTTP API that show the history of requests. Read-only."""
