"""Douyin: videos and photo posts, with cookies of a browser."""
