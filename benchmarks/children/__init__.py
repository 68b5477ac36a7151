"""Measured child programs: each module runs as a process of its own, and loads nothing else.

A child reads its arguments as JSON from standard input and writes its `Usage` to standard output.
"""
