"""From the chosen files of a post to files in storage."""
