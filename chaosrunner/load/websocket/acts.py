"""SEND, AWAIT and CLOSE made ready."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chaosrunner.load.template import names_in
from chaosrunner.load.websocket.link import Is
from chaosrunner.load.websocket.texts import ID, Judge, text_of
from chaosrunner.model.load import Outcome

if TYPE_CHECKING:
    from chaosrunner.load.act import OpenHit, Setting
    from chaosrunner.load.websocket.opened import Opened
    from chaosrunner.load.websocket.sockets import Sockets
    from chaosrunner.model.websocket_step import Await, Close, Send

_OPEN = Is.OPEN  # bound once: on the hot path a look into an enum costs as much as finding the answer


class Sent:
    """Sends a message; if that has an id, its answer is waited for."""

    def __init__(self, step: Send, setting: Setting, opened: Opened, sockets: Sockets) -> None:
        names = names_in(step.message)
        if missing := (names - {ID} | names_in(step.expect)) - setting.known:
            raise ValueError(f"nothing known as <{min(missing)}> when it is sent")
        self.step = step
        self._opened = opened
        self._text = text_of(step.message)
        self._answered = ID in names
        self._everyone = step.everyone
        self._ids = sockets.ids
        self.judge = Judge(step.match, step.expect, step.keep)
        self.received = sockets.series(step.series[0]) if step.everyone else 0
        """Index of the series of a message to everyone."""

    def begin(self, hit: OpenHit) -> None:
        """Write it, or have it written once the connection is back."""
        digits = self._ids.next() if self._answered else ""
        text = self._text(hit.journey.variables, digits)
        session = self._opened.session(hit)
        if digits and not self._everyone and session.link.state is _OPEN:  # nearly always, hence without more ado
            session.pending[digits] = hit
            session.link.write(text)
            hit.sent_ns = hit.fired_ns  # it waited for nothing, and the clock costs as much as finding the answer
        elif self._everyone:
            session.send_to_everyone(hit, text, digits, self)
        else:
            session.send(hit, text, digits)

    def cancel(self, hit: OpenHit) -> Outcome:
        """Its answer is not waited for any more."""
        if self.step.everyone:
            self._opened.sockets.give_up(hit)
        return self._opened.session(hit).cancel(hit)


class Awaited:
    """Waits for a message, or for the end of the connection."""

    def __init__(self, step: Await, setting: Setting, opened: Opened) -> None:
        if missing := names_in(step.message) - setting.known:
            raise ValueError(f"nothing known as <{min(missing)}> when it is awaited")
        self._opened = opened
        self.close = step.close
        self.judge = Judge(None, step.message, step.keep)
        opened.awaited = opened.awaited or step.close is None

    def begin(self, hit: OpenHit) -> None:
        """Wait."""
        self._opened.session(hit).wait(hit, self)

    def cancel(self, hit: OpenHit) -> Outcome:
        """It is not waited for any more."""
        return self._opened.session(hit).cancel(hit)

    def closed(self, code: int) -> Outcome:
        """What the end of the connection means."""
        return Outcome.OK if not self.close or code in self.close else Outcome.CHECK


class Closed:
    """Closes a socket."""

    def __init__(self, step: Close, opened: Opened) -> None:
        self._opened = opened
        self._code = step.code

    def begin(self, hit: OpenHit) -> None:
        """Say that we go."""
        self._opened.session(hit).say_goodbye(hit, self._code)

    def cancel(self, hit: OpenHit) -> Outcome:
        """The answer is not waited for any more."""
        return self._opened.session(hit).cancel(hit)
