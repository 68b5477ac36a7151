"""Instagram: reels and posts, with all of their videos and pictures."""
