"""The threads of a worker process: no more than there is work for."""

import queue
import threading
from collections.abc import Callable

from agents.engine.protocol import Assignment, Failed, Finished, ProtocolError

STACK_BYTES = 2 * 1024 * 1024
"""Enough for CPython's recursion limit; the usual 8 MiB would count as memory for each thread."""

Run = Callable[[Assignment], Finished | Failed]
"""Runs one job to its end. Belongs to one thread."""

_Inbox = queue.SimpleQueue[Assignment]


class Threads:
    """Runs each job on the thread that was idle last, and on a new one only when none is idle.

    So a process with little to do has few connections, and those are warm.

    Args:
        most: how many threads at most.
        equip: makes what runs a thread's jobs; called once in each of them.
        answer: gets what became of a job, in its thread.
    """

    def __init__(
        self, most: int, equip: Callable[[], Run], answer: Callable[[Finished | Failed], None]
    ) -> None:
        threading.stack_size(STACK_BYTES)
        self._most = most
        self._equip = equip
        self._answer = answer
        self._count = 0
        self._idle: list[_Inbox] = []

    def run(self, assignment: Assignment) -> None:
        """Have a thread run the job. Call it from one thread only.

        Raises:
            ProtocolError: all threads have a job already.
        """
        # Popping is atomic, and only the threads themselves put anything in.
        inbox = self._idle.pop() if self._idle else self._start()
        inbox.put(assignment)

    def _start(self) -> _Inbox:
        if self._count == self._most:
            raise ProtocolError(f"more than {self._most} jobs at once")
        self._count += 1
        inbox: _Inbox = queue.SimpleQueue()
        threading.Thread(target=self._work, args=(inbox,), daemon=True).start()
        return inbox

    def _work(self, inbox: _Inbox) -> None:
        run = self._equip()
        while True:
            done = run(inbox.get())
            # Idle before the answer: who gets it may send the next job at once.
            self._idle.append(inbox)
            self._answer(done)
