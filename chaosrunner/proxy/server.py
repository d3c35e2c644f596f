"""The fault proxy as one thing to start and stop: the control API and what it controls."""

import logging
import secrets
from collections.abc import Collection, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from chaosrunner.proxy import decode
from chaosrunner.proxy.agenda import Agenda
from chaosrunner.proxy.api import openapi
from chaosrunner.proxy.api.calls import Manner, make_app
from chaosrunner.proxy.api.guards import Guard
from chaosrunner.proxy.api.metrics import Metrics
from chaosrunner.proxy.audit import Audit, audit_to
from chaosrunner.proxy.control import Control
from chaosrunner.proxy.listener import Address, Listener, resolve
from chaosrunner.proxy.proxies import Shared
from chaosrunner.proxy.refusals import RefusedError, StartError

# When the proxy stops, bytes and requests under way may take this long to arrive.
DRAIN_S = 1.0


class FaultProxy:
    """A fault proxy in this process: `async with FaultProxy(port=0) as proxy: proxy.port`.

    Attributes:
        host: Where the control API listens.
        port: Its port; known once started.
        seed: What the toxics' draws start from.

    Args:
        host: Where the control API is to listen.
        port: Its port, 0 for one that is free.
        token: What every call must carry; needed to listen beyond this machine.
        seed: What draws start from; drawn itself if not given.
        audit: Told of every change; stderr if not given.
        like_toxiproxy: Whether to do as Toxiproxy does where a client could depend on what it does wrong.
        metrics: What `GET /metrics` shows; nothing makes it unknown.
        mark: The kernel's mark of connections to servers, which needs CAP_NET_ADMIN; 0 for none.
        reachable: Whether proxies may listen beyond this machine without a token; the control API may not.
    """

    def __init__(  # noqa: PLR0913 - one place to say everything, all but the address by keyword
        self,
        host: str = "127.0.0.1",
        port: int = 8474,
        *,
        token: str | None = None,
        seed: int | None = None,
        audit: Audit | None = None,
        like_toxiproxy: bool = False,
        metrics: Collection[Metrics] = (),
        mark: int = 0,
        reachable: bool = False,
    ) -> None:
        self.host = host
        self.port = port
        self.seed = secrets.randbits(63) if seed is None else seed
        self._audit = audit or audit_to()
        self._guard = Guard(token)
        self._agenda = Agenda()
        self._manner = Manner(like_toxiproxy, metrics)
        shared = Shared(self.seed, self._audit, self._agenda, restarting_timeouts=like_toxiproxy, mark=mark)
        self._control = Control(shared, loopback_only=token is None and not reachable)
        self._runner: web.AppRunner | None = None

    def document(self) -> dict[str, Any]:
        """The OpenAPI document of the control API."""
        return openapi.document(make_app(self._control, self._guard, self._manner).router.routes())

    @property
    def url(self) -> str:
        """The address of the control API."""
        return f"http://{Address(self.host, self.port)}"

    async def start(self, proxies: Sequence[decode.Fields] = ()) -> None:
        """Create `proxies` (as a populate call takes them), then serve the control API.

        Raises:
            StartError: If an address is taken, is beyond this machine without a token, or a proxy is bad.
        """
        try:
            endpoint = await resolve(Address(self.host, self.port))
            if self._guard.token is None and not endpoint.loopback:
                raise StartError(f"to listen on {endpoint.address}, beyond this machine, give a --token")
            listening = Listener(endpoint, self._audit).detach()
        except RefusedError as refusal:
            raise StartError(refusal.sentence) from None
        app = make_app(self._control, self._guard, self._manner)
        runner = web.AppRunner(app, access_log=None, logger=_web_log(self._audit), shutdown_timeout=DRAIN_S)
        try:
            await self._control.populate(proxies)
            await runner.setup()
            await web.SockSite(runner, listening).start()
        except RefusedError as refusal:
            listening.close()
            raise StartError(refusal.sentence) from None
        self._runner = runner
        self.host, self.port = listening.getsockname()[:2]
        self._audit.info("fault proxy listening", url=self.url, seed=self.seed)

    async def stop(self) -> None:
        """Stop accepting, answer what is under way, close connections once what was written has been sent."""
        await self._control.close(DRAIN_S)
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        self._agenda.close()
        self._audit.info("fault proxy stopped")

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()


class _ToAudit(logging.Handler):
    """Makes one line of what aiohttp logs: its tracebacks hold requests, tokens and all, and take long to render."""

    def __init__(self, audit: Audit) -> None:
        super().__init__()
        self._audit = audit

    def emit(self, record: logging.LogRecord) -> None:
        """Write down which error it was and where it was raised; its message may quote the request."""
        error = record.exc_info[1] if record.exc_info else None
        self._audit.error("API request failed", error=type(error).__name__, raised_at=_place(error))


def _place(error: BaseException | None) -> str:
    """File and line that raised `error`, empty if it was never raised."""
    trace = None if error is None else error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"


def _web_log(audit: Audit) -> logging.Logger:
    # Outside the tree of loggers: no configuration of the process brings the tracebacks back.
    logger = logging.Logger("chaosrunner.proxy.api", logging.ERROR)
    logger.addHandler(_ToAudit(audit))
    return logger
