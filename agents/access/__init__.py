"""Stands before every call to the outside: breaker, rate limiter, bulkhead, egress, account."""
