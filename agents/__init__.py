"""What happens to a video: one file per agent, read top to bottom as the way of a request.

validation, extraction, selection, download, ledger; recovery and delay for what failed.
"""
