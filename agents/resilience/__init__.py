"""Circuit breaker, token bucket, rate limiter and AIMD as pure decisions. No I/O."""
