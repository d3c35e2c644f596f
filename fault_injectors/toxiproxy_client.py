"""A plain Toxiproxy, changed through toxiproxy-python, which is kept from what it does wrong.

As it comes, the library keeps host, port and HTTP in attributes of its classes and modules, so that one process can
speak to one server; its calls never end if the server does not answer; it goes through whatever HTTP_PROXY says, even
to loopback; and it takes a 500 for success. So a copy of it is loaded that nobody else in this process sees, and in
that copy the one class that does HTTP is ours: it makes the call of whoever asked, with that call's own server, limit
and errors. No lock is needed then, because nothing is shared.

What the library says is not relied on: each change is read back by calls of our own. Reading is ours anyway, because
the library finds one proxy by listing all, which hangs when any of them does; so does its `create`.
"""

from __future__ import annotations

import asyncio
import functools
import importlib.util
import sys
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, ClassVar

from chaosrunner.errors import InjectorError
from fault_injectors.proxy_control import ControlApi, part

ANSWER_S = 2.0
"""A healthy Toxiproxy answers in milliseconds; one that hangs leaves time for the other ways to put it back."""

Ask = Callable[[str, str, Mapping[str, object] | None], Any]
_ASK: ContextVar[Ask] = ContextVar("ask")


class ToxiproxyApi(ControlApi):
    """One conversation with a plain Toxiproxy."""

    answer_s: ClassVar[float] = ANSWER_S

    async def add_toxic(self, proxy: str, toxic: Mapping[str, object]) -> None:
        """Add a toxic and read it back; one that is there already in the same shape is ours from an earlier try."""
        await self._change(proxy, lambda its: its.add_toxic(**toxic))
        await self.see_toxic(proxy, toxic, "it said nothing against it")

    async def remove_toxic(self, proxy: str, toxic: str) -> None:
        """Remove a toxic and read back that it is gone; one that is not there is fine."""
        await self._change(proxy, lambda its: its.destroy_toxic(part(toxic)))
        found = await self.proxy(proxy)
        if found is not None and any(each["name"] == toxic for each in found["toxics"]):
            raise InjectorError(f"toxic {toxic} is still on {proxy} after it was removed")

    async def set_proxy(self, proxy: str, fields: Mapping[str, object]) -> None:
        """Enable or disable a proxy and read it back."""
        await self._change(proxy, lambda its: its.enable() if fields["enabled"] else its.disable())
        found = await self.proxy(proxy)
        if found is None or found["enabled"] != fields["enabled"]:
            raise InjectorError(f"{proxy} did not become {dict(fields)}: {found}")

    async def delete(self, proxy: str) -> None:
        """Delete a proxy; one that is not there is fine. The server needs no lock of its toxics for it."""
        await self._change(proxy, lambda its: its.destroy())

    async def _change(self, proxy: str, change: Callable[[Any], object]) -> None:
        library = await asyncio.to_thread(load_library)
        loop = asyncio.get_running_loop()

        def ask(method: str, path: str, body: Mapping[str, object] | None) -> Any:
            call = self.call(method, path, body, gone_is_fine=method == "DELETE", passing=(409,))
            # Bounded twice: should the loop end meanwhile, this thread must not stay.
            return asyncio.run_coroutine_threadsafe(call, loop).result(self.answer_s * 2)[1]

        token = _ASK.set(ask)
        try:
            # Its Proxy only passes the name on, unquoted.
            its = library.Proxy(name=part(proxy), upstream="", listen="", enabled=True)
            await asyncio.to_thread(change, its)
        finally:
            _ASK.reset(token)


class _Answer:
    """What the library is given as an answer: it is a success, whatever is in it."""

    def __init__(self, said: Any) -> None:
        self._said = said

    def json(self) -> Any:
        return self._said


class _Consumer:
    """In the place of the library's APIConsumer: makes the call of the conversation that asked."""

    @staticmethod
    def post(url: str, json: Mapping[str, object] | None = None) -> _Answer:
        return _Answer(_ASK.get()("POST", url, json))

    @staticmethod
    def delete(url: str) -> _Answer:
        return _Answer(_ASK.get()("DELETE", url, None))


@functools.cache
def load_library() -> Any:
    """Our copy of the library; blocking, the first time.

    Raises:
        InjectorError: it is not installed.
    """
    found = importlib.util.find_spec("toxiproxy")
    if found is None or found.origin is None:
        raise InjectorError(
            "this is a plain Toxiproxy, and toxiproxy-python is not installed",
            advice="pip install 'chaosrunner[toxiproxy]', or use `chaosrunner proxy`, which speaks the same API",
        )
    name = f"{__name__}_library"
    spec = importlib.util.spec_from_file_location(
        name, found.origin, submodule_search_locations=found.submodule_search_locations
    )
    assert spec is not None
    assert spec.loader is not None
    library = importlib.util.module_from_spec(spec)
    sys.modules[name] = library  # its modules import each other by it
    spec.loader.exec_module(library)
    sys.modules[f"{name}.proxy"].APIConsumer = _Consumer  # type: ignore[attr-defined]
    return library
