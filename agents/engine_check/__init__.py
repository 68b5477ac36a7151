"""The command `clipmill engine`: canary extractions with the installed yt-dlp."""
