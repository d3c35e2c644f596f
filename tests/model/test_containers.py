"""Which containers a system file means."""

from __future__ import annotations

from typing import Any

import pytest

from chaosrunner.model.containers import is_meant
from chaosrunner.model.system import Containers

API: dict[str, Any] = {
    "Names": ["/gateway/api", "/shop-api-1"],
    "Image": "shop/api",
    "Labels": {
        "com.docker.compose.project": "shop",
        "com.docker.compose.service": "api",
        "com.docker.compose.oneoff": "False",
        "tier": "front",
    },
}
ONE_OFF = {**API, "Labels": {**API["Labels"], "com.docker.compose.oneoff": "True"}}
BARE: dict[str, Any] = {"Names": ["/bare"], "Image": "127.0.0.1:5000/shop@sha256:0123", "Labels": None}


@pytest.mark.parametrize(
    ("way", "found", "missed"),
    [
        (Containers(names=("shop-api-1", "x")), API, BARE),
        (Containers(labels=("tier", "tier=front")), API, BARE),
        (Containers(compose="shop/api"), API, ONE_OFF),
        (Containers(image="shop/api:latest"), API, BARE),
        (Containers(image="127.0.0.1:5000/shop@sha256:0123"), BARE, API),
    ],
)
def test_each_way_to_find_containers(way: Containers, found: dict[str, Any], missed: dict[str, Any]) -> None:
    """Names, labels, Compose service and image find what they mean, and not what is beside it."""
    assert is_meant(found, way)
    assert not is_meant(missed, way)
