"""The control API of a fault proxy: ours, or a plain Toxiproxy, which has neither leases nor live counters."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
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


class Hung(InjectorError):
    """A call was not answered in `ANSWER_S`; it may still land."""


class ControlApi:
    """One conversation with a fault proxy: `async with ControlApi(base, tools) as api`."""

    def __init__(self, base: str, tools: Tools) -> None:
        self._base = base.rstrip("/")
        self._token = tools.reveal(TOKEN)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        import aiohttp

        headers = {"Authorization": f"Bearer {self._token}"} if self._token else None
        self._session = aiohttp.ClientSession(
            trust_env=False,  # a proxy for the web must never come between us and the way back
            timeout=aiohttp.ClientTimeout(total=ANSWER_S),
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
        _, said = await self._call("GET", "/proxies")
        if not isinstance(said, dict):
            raise InjectorError(f"{self._base} is no fault proxy: it lists {str(said)[:80]!r}")
        return said

    async def proxy(self, name: str) -> Json | None:
        """One proxy with its toxics; None if there is none of that name."""
        found: Json | None = await self._get(f"/proxies/{_part(name)}")
        return found

    async def stats(self, name: str) -> Json | None:
        """Live counters; None if the proxy is gone, or the server is a plain Toxiproxy."""
        found: Json | None = await self._get(f"/proxies/{_part(name)}/stats")
        return found

    async def owners(self) -> dict[str, list[Json]] | None:
        """Owner → open changes; None from a plain Toxiproxy."""
        found: dict[str, list[Json]] | None = await self._get("/owners")
        return found

    async def end_owner(self, owner: str) -> None:
        """Undo all changes of an owner; a plain Toxiproxy knows none."""
        await self._call("DELETE", f"/owners/{_part(owner)}", gone_is_fine=True)

    async def add_toxic(self, proxy: str, toxic: Mapping[str, object]) -> None:
        """Add a toxic; one that is there already in the same shape is ours from an earlier try."""
        status, said = await self._call("POST", f"/proxies/{_part(proxy)}/toxics", toxic, passing=(409,))
        found = await self.proxy(proxy)
        mine = [each for each in (found or {}).get("toxics", ()) if each["name"] == toxic["name"]]
        if not mine or any(
            mine[0].get(key) != toxic.get(key, mine[0].get(key)) for key in ("type", "stream", "toxicity")
        ):
            raise InjectorError(f"fault proxy {self._base}: toxic {toxic['name']} is not on {proxy} ({status} {said})")

    async def remove_toxic(self, proxy: str, toxic: str) -> None:
        """Remove a toxic; one that is not there is fine."""
        await self._call("DELETE", f"/proxies/{_part(proxy)}/toxics/{_part(toxic)}", gone_is_fine=True)

    async def set_proxy(self, proxy: str, fields: Mapping[str, object]) -> None:
        """Change a proxy's settings and read them back."""
        _, said = await self._call("POST", f"/proxies/{_part(proxy)}", fields)
        if not isinstance(said, dict) or said.get("enabled") != fields["enabled"]:
            raise InjectorError(f"fault proxy {self._base}: {proxy} did not become {dict(fields)}: {said}")

    async def _get(self, path: str) -> Any:
        status, said = await self._call("GET", path, gone_is_fine=True)
        return said if status == 200 else None

    async def _call(
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
            InjectorError: it cannot be reached, or its answer is neither a success nor expected.
        """
        import aiohttp

        assert self._session is not None, "enter it first"
        try:
            async with self._session.request(method, self._base + path, json=body) as answer:
                status, said = answer.status, _parsed(await answer.text())
        except TimeoutError:
            raise Hung(f"fault proxy {self._base} did not answer {method} {path} in {ANSWER_S:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise InjectorError(
                f"fault proxy {self._base} cannot be reached: {error}", advice="start it, or correct fault_proxy"
            ) from None
        if status < 300 or status in passing or (status == 404 and gone_is_fine):
            return status, said
        sentence = said.get("error", said) if isinstance(said, dict) else said
        raise InjectorError(f"fault proxy {self._base} answered {method} {path} with {status}: {str(sentence)[:200]}")


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text.strip()


def _part(name: str) -> str:
    return quote(name, safe="")
