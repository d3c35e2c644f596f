"""Drawing that never holds up the run: a reader who stops reading, or goes away, must not delay an undo."""

from __future__ import annotations

import io
import os
import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TextIO, TypeVar

T = TypeVar("T")


class Mailbox(Generic[T]):
    """Hands things to a thread that draws them. `post` never waits; when the box is full the oldest goes.

    A draw that raises OSError or ValueError (the terminal hung up, the pipe closed) ends the drawing, not the run.
    """

    def __init__(self, draw: Callable[[T], None], *, depth: int) -> None:
        self._draw = draw
        self._items: deque[T] = deque(maxlen=depth)
        self._changed = threading.Condition()
        self._closing = False
        self.quiet = False
        """True once drawing has failed: nobody is looking any more."""
        self._thread = threading.Thread(target=self._work, name="view", daemon=True)
        self._thread.start()

    def post(self, item: T) -> None:
        """Leave a thing to be drawn."""
        with self._changed:
            self._items.append(item)
            self._changed.notify()

    def close(self, timeout_s: float = 1.0) -> bool:
        """Draw what is left, but wait no longer than this: a blocked writer is abandoned. True if it has ended."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._items and not self._closing:
                    self._changed.wait()
                if not self._items:
                    return
                item = self._items.popleft()
            try:
                self._draw(item)
            except (OSError, ValueError):
                self.quiet = True
                return


class DirectText(io.TextIOBase):
    """A text stream straight to a file descriptor of its own.

    Python's buffered streams hold a lock while they write: a drawing thread that blocks inside one would stop the
    interpreter from exiting. This one has no lock and no buffer.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        stream.flush()
        self._fd = os.dup(stream.fileno())
        self._encoding = stream.encoding or "ascii"

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding of the stream it was made from."""
        return self._encoding

    def fileno(self) -> int:
        """Its own descriptor."""
        return self._fd

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return os.isatty(self._fd)

    def writable(self) -> bool:
        """It is."""
        return True

    def close(self) -> None:
        """Let go of the descriptor; the stream it was made from stays open."""
        if not self.closed:
            super().close()
            os.close(self._fd)

    def write(self, text: str) -> int:
        """Write all of `text`. Raises OSError when the reader is gone."""
        data = text.encode(self._encoding, "replace")
        while data:
            data = data[os.write(self._fd, data) :]
        return len(text)
