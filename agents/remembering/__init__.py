"""What stages remember: their caches, put together from the tools and the settings."""
