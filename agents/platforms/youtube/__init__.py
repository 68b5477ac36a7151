"""YouTube: videos and Shorts, as far as they need no JavaScript runtime."""
