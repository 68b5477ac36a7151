"""Fork server double that forks nothing: the test plays the forked process."""

import os
import socket

from agents.engine.fork_client import ForkServer
from agents.engine.protocol import FromProcess, frame


class FakeForkServer(ForkServer):
    """Records what it was asked to fork and kill."""

    def __init__(self) -> None:
        super().__init__(())
        self.killed: list[int] = []
        self.process: socket.socket | None = None
        self.can_fork = True

    def fork(self, connection: socket.socket) -> None:
        if not self.can_fork:
            raise OSError("no more processes")
        self.process = socket.socket(fileno=os.dup(connection.fileno()))

    def kill(self, pid: int) -> None:
        self.killed.append(pid)

    def disconnect(self) -> None:
        assert self.process is not None
        self.process.close()

    def send(self, message: FromProcess) -> None:
        assert self.process is not None
        self.process.sendall(frame(message))
