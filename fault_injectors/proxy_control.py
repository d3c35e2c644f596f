"""The control API of a fault proxy: ours, or a plain Toxiproxy, which has neither leases nor live counters."""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Self
from urllib.parse import quote

from chaosrunner.errors import InjectorError
from chaosrunner.model.fault import Tools
from chaosrunner.model.secret import Secret

if TYPE_CHECKING:
    import aiohttp

ANSWER_S = 5.0
"""A call that takes longer hangs; a healthy proxy answers in milliseconds whatever its data path does."""
TOKEN = Secret("${CHAOSRUNNER_PROXY_TOKEN:-}")
"""The bearer token that a fault proxy beyond loopback asks for; empty = none. The proxy reads the same variable."""

Json = dict[str, Any]
_ASKED = ("type", "stream", "toxicity")


class Hung(InjectorError):
    """A call was not answered in time; it may still land."""


class Unreachable(InjectorError):
    """Nobody listens there: whoever did is gone."""


class ControlApi:
    """One conversation with a fault proxy: `async with ControlApi(base, tools) as api`."""

    answer_s: ClassVar[float] = ANSWER_S

    def __init__(self, base: str, tools: Tools) -> None:
        self._base = base.rstrip("/")
        self._token = tools.reveal(TOKEN)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        import aiohttp

        headers = {"Authorization": f"Bearer {self._token}"} if self._token else None
        self._session = aiohttp.ClientSession(
            trust_env=False,  # a proxy for the web must never come between us and the way back
            timeout=aiohttp.ClientTimeout(total=self.answer_s),
            headers=headers,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._session is not None
        await self._session.close()

    async def proxies(self) -> dict[str, Json]:
        """All proxies with their toxics, by name."""
        _, said = await self.call("GET", "/proxies")
        if not isinstance(said, dict):
            raise InjectorError(f"{self._base} is no fault proxy: it lists {str(said)[:80]!r}")
        return said

    async def proxy(self, name: str) -> Json | None:
        """One proxy with its toxics; None if there is none of that name."""
        found: Json | None = await self._get(f"/proxies/{part(name)}")
        return found

    async def stats(self, name: str) -> Json | None:
        """Live counters; None if the proxy is gone, or the server is a plain Toxiproxy."""
        found: Json | None = await self._get(f"/proxies/{part(name)}/stats")
        return found

    async def owners(self) -> dict[str, list[Json]] | None:
        """Owner → open changes; None from a plain Toxiproxy."""
        found: dict[str, list[Json]] | None = await self._get("/owners")
        return found

    async def end_owner(self, owner: str) -> None:
        """Undo all changes of an owner; a plain Toxiproxy knows none."""
        await self.call("DELETE", f"/owners/{part(owner)}", gone_is_fine=True)

    async def add_toxic(self, proxy: str, toxic: Mapping[str, object]) -> None:
        """Add a toxic; one that is there already in the same shape is ours from an earlier try."""
        status, said = await self.call("POST", f"/proxies/{part(proxy)}/toxics", toxic, passing=(409,))
        await self.see_toxic(proxy, toxic, f"{status} {said}")

    async def see_toxic(self, proxy: str, toxic: Mapping[str, object], answer: str) -> None:
        """Read back that a toxic is there as it was asked for.

        Raises:
            InjectorError: it is not; `answer` says what the server said to that.
        """
        found = await self.proxy(proxy)
        mine = [each for each in (found or {}).get("toxics", ()) if each["name"] == toxic["name"]]
        if not mine or any(not _same(mine[0].get(key), toxic.get(key, mine[0].get(key))) for key in _ASKED):
            raise InjectorError(f"fault proxy {self._base}: toxic {toxic['name']} is not on {proxy} ({answer})")

    async def remove_toxic(self, proxy: str, toxic: str) -> None:
        """Remove a toxic; one that is not there is fine."""
        await self.call("DELETE", f"/proxies/{part(proxy)}/toxics/{part(toxic)}", gone_is_fine=True)

    async def create(self, fields: Mapping[str, object]) -> Json:
        """Create a proxy; one that is there already is an error.

        Returns:
            It as it is.
        """
        _, said = await self.call("POST", "/proxies", fields)
        if not isinstance(said, dict):
            raise InjectorError(f"fault proxy {self._base}: {fields['name']} was not created: {str(said)[:80]!r}")
        return said

    async def set_proxy(self, proxy: str, fields: Mapping[str, object]) -> None:
        """Change a proxy's settings and read them back."""
        _, said = await self.call("POST", f"/proxies/{part(proxy)}", fields)
        if not isinstance(said, dict) or said.get("enabled") != fields["enabled"]:
            raise InjectorError(f"fault proxy {self._base}: {proxy} did not become {dict(fields)}: {said}")

    async def _get(self, path: str) -> Any:
        status, said = await self.call("GET", path, gone_is_fine=True)
        return said if status == 200 else None

    async def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None = None,
        *,
        gone_is_fine: bool = False,
        passing: tuple[int, ...] = (),
    ) -> tuple[int, Any]:
        """Status and body, parsed if it is JSON.

        Raises:
            Hung: no answer in time.
            Unreachable: nobody listens.
            InjectorError: it cannot be reached in another way, or its answer is neither a success nor expected.
        """
        import aiohttp

        assert self._session is not None, "enter it first"
        try:
            async with self._session.request(method, self._base + path, json=body) as answer:
                status, said = answer.status, _parsed(await answer.text())
        except TimeoutError:
            raise Hung(f"fault proxy {self._base} did not answer {method} {path} in {self.answer_s:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            refused = isinstance(error, aiohttp.ClientConnectorError) and error.os_error.errno == errno.ECONNREFUSED
            raise (Unreachable if refused else InjectorError)(
                f"fault proxy {self._base} cannot be reached: {error}", advice="start it, or correct fault_proxy"
            ) from None
        if status < 300 or status in passing or (status == 404 and gone_is_fine):
            return status, said
        sentence = said.get("error", said) if isinstance(said, dict) else said
        raise InjectorError(f"fault proxy {self._base} answered {method} {path} with {status}: {str(sentence)[:200]}")


def _same(found: object, asked: object) -> bool:
    # Toxiproxy keeps a toxicity in 32 bits, and shows 0.123456789 as 0.12345679.
    if isinstance(found, float) or isinstance(asked, float):
        return isinstance(found, int | float) and isinstance(asked, int | float) and abs(found - asked) < 1e-6
    return found == asked


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text.strip()


def part(name: str) -> str:
    """A name as one part of a path."""
    return quote(name, safe="")
