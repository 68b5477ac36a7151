"""The engine's processes of a worker, found among all its children."""

import psutil


def fork_server_of(worker_pid: int) -> psutil.Process:
    """The process that all engine processes of a worker are forked from."""
    children = psutil.Process(worker_pid).children()
    [found] = [child for child in children if "agents.engine.forkserver" in child.cmdline()]
    return found
