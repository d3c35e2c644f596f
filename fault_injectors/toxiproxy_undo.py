"""The way back at a plain Toxiproxy, which may hang: three ways, each rougher than the one before.

A client that does not read stalls Toxiproxy's data path, and whoever adds, removes or lists a toxic of that proxy then
waits behind it, for as long as the client likes. Disabling the proxy lands, unanswered, and cuts the connections;
deleting it is answered at once even then, and what is made anew has no toxic. A mark, itself a proxy, disabled and
named after us, says meanwhile that a proxy that is missing is ours to make again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fault_injectors.proxy_control import ControlApi, Hung, Json

if TYPE_CHECKING:
    from fault_injectors.toxiproxy_client import ToxiproxyApi

MARK = "chaosrunner-"
"""How the names of all that we make begin."""
_SETTINGS = ("listen", "upstream", "enabled")
_OF_A_TOXIC = ("name", "type", "stream", "toxicity", "attributes")


def remembered(proxy: Json) -> Json:
    """All that making a proxy again needs: its settings, and the toxics that are not ours."""
    return {
        **{key: proxy[key] for key in _SETTINGS},
        "toxics": [
            {key: toxic[key] for key in _OF_A_TOXIC} for toxic in proxy["toxics"] if not toxic["name"].startswith(MARK)
        ],
    }


async def put_back(api: ToxiproxyApi, name: str, owner: str, before: Json) -> None:
    """Have no toxic called `owner` on a proxy, and the proxy enabled as it was.

    Raises:
        Hung: none of the ways was answered.
        InjectorError: it cannot be reached, or says no.
    """
    for way in (_gently, _cut_first, _anew):
        try:
            await way(api, name, owner, before)
        except Hung as hung:
            last = hung
        else:
            return
    raise last


async def left_over(api: ControlApi, name: str, owner: str, before: Json) -> bool:
    """Whether anything of `owner` is at a proxy, or it is not enabled as it was, or still to be made again."""
    found = await api.proxy(name)
    if found is None:
        return await api.proxy(_mark(name, owner)) is not None
    ours = any(toxic["name"] == owner for toxic in found["toxics"])
    return ours or found["enabled"] != before["enabled"] or await api.proxy(_mark(name, owner)) is not None


async def _gently(api: ToxiproxyApi, name: str, owner: str, before: Json) -> None:
    found = await api.proxy(name)
    marked = await api.proxy(_mark(name, owner)) is not None
    if found is None and not marked:
        return  # deleted by somebody else, or gone with the whole server: nothing of ours is left
    if found is None:
        found = await api.create({"name": name, **{key: before[key] for key in _SETTINGS}})
    names = {toxic["name"] for toxic in found["toxics"]}
    if owner in names:
        await api.remove_toxic(name, owner)
    if found["enabled"] != before["enabled"]:
        await api.set_proxy(name, {"enabled": before["enabled"]})
    if marked:
        for toxic in before["toxics"]:
            if toxic["name"] not in names:
                await api.add_toxic(name, toxic)
        await api.delete(_mark(name, owner))


async def _cut_first(api: ToxiproxyApi, name: str, owner: str, before: Json) -> None:
    try:
        await api.set_proxy(name, {"enabled": False})
    except Hung:
        pass  # it lands, and is not answered as long as the data path is stalled
    await _gently(api, name, owner, before)


async def _anew(api: ToxiproxyApi, name: str, owner: str, before: Json) -> None:
    if await api.proxy(_mark(name, owner)) is None:
        mark = {"name": _mark(name, owner), "listen": "127.0.0.1:0", "upstream": before["upstream"], "enabled": False}
        await api.create(mark)
    await api.delete(name)
    await _gently(api, name, owner, before)


def _mark(name: str, owner: str) -> str:
    return f"{owner}-made-again-{name}"
