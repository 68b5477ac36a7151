"""Finds the engine processes of a worker."""

import psutil


def fork_server_of(worker_pid: int) -> psutil.Process:
    """Return the fork server of a worker, the parent of all its engine processes."""
    children = psutil.Process(worker_pid).children()
    [found] = [child for child in children if "agents.engine.forkserver" in child.cmdline()]
    return found
