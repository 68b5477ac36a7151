"""Outbound access control: egress, circuit breaker, rate limiter, bulkhead, accounts."""
