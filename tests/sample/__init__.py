"""`make run`: the whole main path on one machine, offline.

A real Kafka, all stages and the real yt-dlp extractor; only TikTok itself is a stand-in.
"""
