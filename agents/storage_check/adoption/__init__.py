"""Adoption: takes the media files of an existing folder into the storage."""
