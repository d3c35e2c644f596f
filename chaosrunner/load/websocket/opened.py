"""An OPEN made ready: where it goes, what it asks, and the books of all sockets it opens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chaosrunner import __version__
from chaosrunner.load.http.script import address, filled_path, header_lines
from chaosrunner.load.template import Template, json_path, names_in
from chaosrunner.load.websocket.dialing import Place
from chaosrunner.load.websocket.session import Session
from chaosrunner.load.websocket.texts import LAST, text_of
from chaosrunner.model.load import Outcome
from chaosrunner.model.units import NANOS

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping, Sequence

    from chaosrunner.load.act import OpenHit, Setting
    from chaosrunner.load.http.pool import Address
    from chaosrunner.load.websocket.dialing import Dialing
    from chaosrunner.load.websocket.driver import Sockets
    from chaosrunner.model.websocket_step import Open
