"""Facebook: reels and videos that are public."""
