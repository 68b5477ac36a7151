"""The job of clipmill's cached path in other frameworks, for `make bench-peers`.

Modules with a peer's name run in a virtual environment of their own; they import nothing of
clipmill.
"""
