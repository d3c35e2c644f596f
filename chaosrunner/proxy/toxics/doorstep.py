"""What connect toxics make of a new connection: let it in now, later, or never."""

from collections.abc import Callable, Iterable
from time import monotonic

from chaosrunner.proxy.agenda import Agenda, Entry
from chaosrunner.proxy.stats import AppliedToxic
from chaosrunner.proxy.toxics.kinds import DelayConnect, LimitConnections, RefuseConnect
from chaosrunner.proxy.toxics.luck import Luck
from chaosrunner.proxy.toxics.stage import SOON_S
from chaosrunner.proxy.toxics.toxic import Toxic

Struck = Iterable[tuple[AppliedToxic, Luck]]


def refuses(struck: Struck, connections: int) -> bool:
    """Whether one of the toxics will not have a new connection; counted where it struck.

    Args:
        struck: The connect toxics that strike the connection, with its luck.
        connections: How many are open through the proxy, this one included.
    """
    for applied, _ in struck:
        match applied.toxic.attributes:
            case RefuseConnect():
                applied.connections += 1
                return True
            case LimitConnections(most) if connections > most:
                applied.connections += 1
                return True
    return False


class Doorstep:
    """Where a connection waits while it is delayed; `let_in` is called once, unless it leaves before."""

    def __init__(self, agenda: Agenda, let_in: Callable[[], None]) -> None:
        self._agenda = agenda
        self._let_in = let_in
        self._came = monotonic()
        self._delays: dict[AppliedToxic, tuple[Toxic, float]] = {}  # drawn for the toxic as it then was, in seconds
        self._entry: Entry | None = None
        self._left = False

    def wait(self, struck: Struck) -> None:
        """Let it in when its delays are over: at once if there are none; called again when toxics have changed."""
        if self._left:
            return
        self._delays = {
            applied: self._drawn(applied, luck)
            for applied, luck in struck
            if isinstance(applied.toxic.attributes, DelayConnect)
        }
        due = self._came + sum(delay_s for _, delay_s in self._delays.values())
        self._sleep()
        if due <= monotonic() + SOON_S:
            self._enter()
        else:
            self._entry = self._agenda.at(due, self._enter)

    def leave(self) -> None:
        """The connection is over."""
        self._left = True
        self._sleep()

    def _drawn(self, applied: AppliedToxic, luck: Luck) -> tuple[Toxic, float]:
        attributes = applied.toxic.attributes
        assert isinstance(attributes, DelayConnect)
        known = self._delays.get(applied)
        if known is None:
            luck.touch()  # it waits from now on, which is to be seen while it does
        return known if known and known[0] is applied.toxic else (applied.toxic, attributes.draw_s(luck.random))

    def _enter(self) -> None:
        self.leave()
        late_s = monotonic() - self._came - sum(delay_s for _, delay_s in self._delays.values())
        for applied, (_, delay_s) in self._delays.items():
            applied.delayed(delay_s + late_s)
        self._let_in()

    def _sleep(self) -> None:
        if self._entry is not None:
            self._entry.cancel()
            self._entry = None
