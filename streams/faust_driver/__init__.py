"""The Faust driver: the only package that imports Faust."""
