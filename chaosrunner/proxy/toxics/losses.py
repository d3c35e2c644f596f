"""The toxics that lose or spoil what is sent: corrupt, drop and silence."""

from math import inf, log, log1p
from typing import Any

from chaosrunner.proxy.toxics.kinds import Corrupt
from chaosrunner.proxy.toxics.stage import End, Item, Stage


class CorruptStage(Stage):
    """Changes single bytes, at places that do not depend on how the data is cut into chunks."""

    __slots__ = ("_gap",)

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._gap = self._draw_gap()

    def take(self, item: Item) -> None:
        """Pass one item, with some of its bytes changed."""
        self._count(item)
        if isinstance(item, bytes):
            item = self._spoilt(item)
        self.next(item)

    def retune(self) -> None:
        """Spoil by the changed probability from here on."""
        self._gap = self._draw_gap()

    def _spoilt(self, data: bytes) -> bytes:
        if self._gap >= len(data):
            self._gap -= len(data)
            return data
        spoilt = bytearray(data)
        while self._gap < len(data):
            spoilt[int(self._gap)] ^= self._luck.random.randint(1, 255)
            self._gap += 1 + self._draw_gap()
        self._gap -= len(data)
        return bytes(spoilt)

    def _draw_gap(self) -> float:
        """How many bytes stay as they are before the next one changes: geometrically distributed."""
        corrupt = self.applied.toxic.attributes
        assert isinstance(corrupt, Corrupt)
        if corrupt.probability >= 1:
            return 0
        if not corrupt.probability:
            return inf
        return log(1 - self._luck.random.random()) // log1p(-corrupt.probability)


class DropStage(Stage):
    """Loses all data, passes the end."""

    __slots__ = ()

    def take(self, item: Item) -> None:
        """Lose data, pass an end."""
        self._count(item)
        if isinstance(item, End):
            self.next(item)


class SilenceStage(Stage):
    """Loses everything, ends too: the peer has vanished."""

    __slots__ = ("_lost",)

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._lost = False

    def take(self, item: Item) -> None:
        """Lose one item."""
        self._count(item)
        self._luck.touch()
        self._lost = True

    def retire(self) -> None:
        """Reset the connection if something is missing from it, else leave it whole."""
        super().retire()
        if self._lost:
            self.next(End.RESET)
