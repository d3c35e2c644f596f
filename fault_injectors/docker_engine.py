"""Asking a Docker engine: every call in a thread, with a client and a deadline of its own, in errors people can act on.

The SDK is imported with the first call. A checkout has a folder `docker/` without Python in it, which Python takes for
an empty package where the SDK is missing: what counts is whether the SDK's client is there.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from chaosrunner.errors import InjectorError, Unavailable
from chaosrunner.model.fault import Availability

if TYPE_CHECKING:
    from docker import APIClient

T = TypeVar("T")
Json = dict[str, Any]

ANSWERS_S = 10.0
"""How long an engine may take for an answer, beyond what the call itself is meant to take."""
HERE = "unix:///var/run/docker.sock"
MISSING = "the Docker SDK is not installed; pip install 'chaosrunner[docker]'"


class Gone(InjectorError):
    """The engine knows no container (or network) of that id any more."""


def sdk() -> Any:
    """The Docker SDK. Raises Unavailable where it is not installed."""
    try:
        import docker
    except ImportError:
        raise Unavailable(MISSING) from None
    if not hasattr(docker, "APIClient"):
        raise Unavailable(MISSING)
    return docker


def available() -> Availability:
    """Where the SDK is installed; which engine is asked, the system file says."""
    try:
        sdk()
    except Unavailable as error:
        return Availability(ok=False, why=str(error))
    return Availability(ok=True)


def address(said: str) -> str:
    """The engine's address: what the system file says, else `DOCKER_HOST`, else this host's."""
    return said or os.environ.get("DOCKER_HOST") or HERE


async def ask(url: str, call: Callable[[APIClient], T], takes_s: float = 0.0) -> T:
    """What a call of the engine's API answers.

    Args:
        url: the engine, `unix:///path` or `tcp://host:port`.
        call: gets a client of its own, in a thread.
        takes_s: how long the engine is meant to need for it, such as the grace of a stop.

    Raises:
        Gone: what the call names does not exist.
        InjectorError: the engine cannot be reached, does not answer in time, or refuses; says which and why.
    """
    return await asyncio.to_thread(_asked, url, call, takes_s + ANSWERS_S)


async def tell(url: str, order: str, containers: Iterable[str], *, takes_s: float = 0.0, **more: object) -> None:
    """Have the engine do something with containers, all at once.

    Args:
        url: the engine.
        order: the SDK's word for it: `kill`, `pause`, `start` …
        containers: their ids.
        takes_s: how long the engine is meant to need for it, such as the grace of a stop.
        more: what else the SDK wants to know.

    Raises:
        InjectorError: as `ask`, for the first that failed; all others have been answered then.
    """

    def call(container: str) -> Callable[[APIClient], object]:
        return lambda api: getattr(api, order)(container, **more)

    answers = await asyncio.gather(*(ask(url, call(one), takes_s) for one in containers), return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer


async def look(url: str, container: str) -> Json | None:
    """All that the engine says of a container; None when there is none of that id any more."""
    try:
        return await ask(url, lambda api: dict(api.inspect_container(container)))
    except Gone:
        return None


def _asked(url: str, call: Callable[[APIClient], T], timeout_s: float) -> T:
    docker = sdk()
    from requests import RequestException

    try:
        api = docker.APIClient(base_url=url, version="auto", timeout=timeout_s)
    except (docker.errors.DockerException, RequestException) as error:
        raise InjectorError(f"no Docker engine answers at {url}: {_first_line(error)}") from None
    api.trust_env = False  # a proxy in the environment is for the internet, not for an engine
    try:
        return call(api)
    except docker.errors.NotFound as error:
        raise Gone(f"the engine at {url} says: {error.explanation}") from None
    except docker.errors.APIError as error:
        raise InjectorError(f"the engine at {url} refuses: {error.explanation or _first_line(error)}") from None
    except (docker.errors.DockerException, RequestException) as error:
        raise InjectorError(f"the engine at {url} did not answer: {_first_line(error)}") from None
    finally:
        api.close()


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
