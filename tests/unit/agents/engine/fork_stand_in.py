"""A fork server that forks nothing: the test is the process."""

import os
import socket

from agents.engine.fork_client import ForkServer
from agents.engine.protocol import FromProcess, frame


class Forks(ForkServer):
    """Keeps what it should have forked and killed."""

    def __init__(self) -> None:
        super().__init__(())
        self.killed: list[int] = []
        self.process: socket.socket | None = None
        self.works = True

    def fork(self, connection: socket.socket) -> None:
        if not self.works:
            raise OSError("no more processes")
        self.process = socket.socket(fileno=os.dup(connection.fileno()))

    def kill(self, pid: int) -> None:
        self.killed.append(pid)

    def hang_up(self) -> None:
        assert self.process is not None
        self.process.close()

    def say(self, message: FromProcess) -> None:
        assert self.process is not None
        self.process.sendall(frame(message))
