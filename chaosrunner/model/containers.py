"""Which containers a system file means, by what an engine's list says of each."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from chaosrunner.model.system import Containers

PROJECT, SERVICE = "com.docker.compose.project", "com.docker.compose.service"
ONE_OFF = "com.docker.compose.oneoff"


def is_meant(summary: Mapping[str, Any], wanted: Containers) -> bool:
    """Whether a way to find containers finds one, of which the engine's list says `Names`, `Image` and `Labels`."""
    labels: Mapping[str, str] = summary.get("Labels") or {}
    if wanted.names:
        return own_name(summary) in wanted.names
    if wanted.labels:
        return all(_has(labels, wish) for wish in wanted.labels)
    if wanted.compose:
        one_off = labels.get(ONE_OFF, "False") == "True"
        return f"{labels.get(PROJECT)}/{labels.get(SERVICE)}" == wanted.compose and not one_off
    return _tagged(str(summary["Image"])) == _tagged(wanted.image)


def own_name(summary: Mapping[str, Any]) -> str:
    """The container's own name: links give it others, which hold a second slash."""
    own = [name for name in summary["Names"] if name.count("/") == 1]
    return str(own[0]).removeprefix("/")


def _has(labels: Mapping[str, str], wish: str) -> bool:
    key, equals, value = wish.partition("=")
    return key in labels and (not equals or labels[key] == value)


def _tagged(image: str) -> str:
    return image if re.search(r"[:@][^/]*$", image) else f"{image}:latest"
