"""Subtitles: readers of their formats, and writers of WebVTT and SubRip."""
