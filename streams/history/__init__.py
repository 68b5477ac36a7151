"""The history of requests, from the audit and results topics."""
