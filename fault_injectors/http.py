"""Faults of single HTTP requests, through a fault proxy whose `protocol` is http; keep-alive is no shelter from them.

`share` is the part of the requests that is struck, drawn once a request; `method` and `path` say which are meant.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from chaosrunner.model.units import Bytes, Seconds, human_duration
from fault_injectors.proxy_control import Json
from fault_injectors.proxy_fault import Toxic
from fault_injectors.proxy_params import Some, milliseconds, toxic


@dataclass(frozen=True, slots=True, kw_only=True)
class Requests(Some):
    """Which requests are meant."""

    method: str = field(default="", metadata={"help": "GET, or several as GET,POST; any"})
    path: str = field(default="", metadata={"help": "The path without the query, in which * is anything; any"})

    def words(self, says: str) -> str:
        """What is done, and to which requests."""
        meant = " ".join(word for word in (self.method, self.path) if word)
        return f"{says} to {meant}" if meant else says

    def aim(self) -> Json:
        """The same in the proxy's words."""
        return {"method": self.method, "path": self.path}


class HttpToxic(Toxic):
    """A toxic that strikes requests."""

    protocol: ClassVar[str] = "http"


class HttpStatus(HttpToxic):
    """An error in the place of an answer."""

    name: ClassVar[str] = "http.status"
    about: ClassVar[str] = "Answers requests with a status of its own; undone by removing the toxic."

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params(Requests):
        """Which status, and whether the server works for it."""

        status: int = field(default=503, metadata={"help": "The status, 200 to 599."})
        served: bool = field(
            default=False, metadata={"help": "true: the server does the work, and only its answer is lost."}
        )

        def __post_init__(self) -> None:
            """A status that ends an exchange."""
            Some.__post_init__(self)
            if not 200 <= self.status <= 599:
                raise ValueError("'status' is from 200 to 599")

    def change(self, params: object) -> Json:
        """An http_status toxic: downstream replaces the server's answer, upstream never asks it."""
        assert isinstance(params, HttpStatus.Params)
        says = params.words(f"{params.status} {'in the place of the answer' if params.served else 'without asking'}")
        made = toxic(params, "http_status", {"status": params.status, **params.aim()}, says, "requests")
        return {**made, "stream": "downstream" if params.served else "upstream"}


class HttpLatency(HttpToxic):
    """Requests that take long."""

    name: ClassVar[str] = "http.latency"
    about: ClassVar[str] = "Delays single requests or their answers; undone by removing the toxic."

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params(Requests):
        """How late."""

        add: Seconds = field(metadata={"help": "Time added."})
        jitter: Seconds = field(default=Seconds(0), metadata={"help": "Each request varies by up to this, either way."})
        direction: Literal["downstream", "upstream"] = field(
            default="downstream", metadata={"help": "downstream: the answer is late; upstream: the request is."}
        )

    def change(self, params: object) -> Json:
        """An http_latency toxic."""
        assert isinstance(params, HttpLatency.Params)
        spread = f" ± {human_duration(params.jitter)}" if params.jitter else ""
        delay = {"latency": milliseconds(params.add), "jitter": milliseconds(params.jitter)}
        says = params.words(f"+{human_duration(params.add)}{spread}")
        return toxic(params, "http_latency", {**delay, **params.aim()}, says, "requests")


class HttpTruncate(HttpToxic):
    """Answers that stop."""

    name: ClassVar[str] = "http.truncate"
    about: ClassVar[str] = "Cuts the bodies of answers and closes the connection; undone by removing the toxic."

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params(Requests):
        """Where."""

        after: Bytes = field(default=Bytes(0), metadata={"help": "Bytes of the body that arrive."})

    def change(self, params: object) -> Json:
        """An http_truncate toxic."""
        assert isinstance(params, HttpTruncate.Params)
        says = params.words(f"answers cut after {params.after} B")
        return toxic(params, "http_truncate", {"after": int(params.after), **params.aim()}, says, "requests")


class HttpMalformed(HttpToxic):
    """Answers that make no sense."""

    name: ClassVar[str] = "http.malformed"
    about: ClassVar[str] = "Spoils answers so that no client can read them; undone by removing the toxic."

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Params(Requests):
        """What is wrong."""

        kind: Literal["status_line", "header", "length", "chunk", "body"] = field(
            default="status_line", metadata={"help": "What of the answer is spoilt."}
        )

    def change(self, params: object) -> Json:
        """An http_malformed toxic."""
        assert isinstance(params, HttpMalformed.Params)
        says = params.words(f"answers with a spoilt {params.kind.replace('_', ' ')}")
        return toxic(params, "http_malformed", {"kind": params.kind, **params.aim()}, says, "requests")
