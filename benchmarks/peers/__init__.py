"""The job of clipmill's cached path in other frameworks, for `make bench-peers`.

`make bench-peers` runs the peers in a virtual environment of their own, so they import nothing of
clipmill; `make bench` runs `bare_aiokafka` in the project's.
"""
