"""Vimeo: single videos, read from the page of the player."""
