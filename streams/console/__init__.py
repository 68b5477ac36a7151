"""The console: pages and an HTTP API, which show the history of requests and publish commands."""
