"""X, formerly Twitter: the videos and GIFs of posts."""
