"""Bulk commands: jobs that publish one command for each request that matches a filter."""
