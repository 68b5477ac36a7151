"""Bluesky: the video of a post."""
