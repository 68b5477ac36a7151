"""Looks into finished files: are they the media that the page promised?"""
