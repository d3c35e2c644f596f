"""Jobs that wait for a connection, first come, first served."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chaosrunner.load.postgres.jobs import Job


class Queue:
    """Waiting jobs. One whose hit is over stays in it unseen until its turn comes."""

    def __init__(self) -> None:
        self._jobs: deque[Job] = deque()
        self.waiting = 0
        """How many wait."""

    def put(self, job: Job) -> None:
        """Wait behind all others."""
        self._jobs.append(job)
        self.waiting += 1

    def gone(self) -> None:
        """The hit of a job in here is over."""
        self.waiting -= 1

    def first(self) -> Job | None:
        """The job whose turn is next; it stays."""
        while self._jobs and self._jobs[0].hit.over:
            self._jobs.popleft()
        return self._jobs[0] if self._jobs else None

    def take(self) -> Job | None:
        """The job whose turn it is."""
        job = self.first()
        if job is not None:
            self._jobs.popleft()
            self.waiting -= 1
        return job

    def take_since(self, since_ns: int) -> list[Job]:
        """All jobs that have waited since that instant or longer; jobs wait in the order of their instants."""
        found = []
        while (job := self.first()) is not None and job.since_ns <= since_ns:
            found.append(job)
            self._jobs.popleft()
            self.waiting -= 1
        return found
