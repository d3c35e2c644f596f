"""Stretches of traffic made up for tests: what each piece holds is drawn, or said."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from chaosrunner.logic.stretch import Stretch
from chaosrunner.logic.traffic import Sample
from chaosrunner.model.load import Outcome
from chaosrunner.model.slots import Slot


@dataclass(frozen=True, kw_only=True)
class Kind:
    """How the requests of a stretch fare. Times in seconds."""

    pieces: int = 20
    hits: int = 50
    """In each piece."""
    median: float = 0.02
    sigma: float = 0.3
    errors: float = 0.0
    wander: float = 0.0
    """Of a level that all requests of a piece share, φ = 0.5 from one to the next."""
    rush: float = 0.0
    """How many of the hits of a piece there may be more or fewer, as a share."""


def drawn(seed: int, kind: Kind) -> Stretch:
    """A stretch; the seed decides everything. A piece is a second."""
    chance, level = random.Random(seed), 0.0
    pieces = []
    for _ in range(kind.pieces):
        level = 0.5 * level + kind.wander * math.sqrt(0.75) * chance.gauss(0, 1)
        count = kind.hits + round(kind.rush * kind.hits * chance.uniform(-1, 1))
        times = [kind.median * math.exp(kind.sigma * chance.gauss(0, 1) + level) for _ in range(count)]
        pieces.append(piece([None if chance.random() < kind.errors else one for one in times]))
    return joined(pieces)


def piece(times: Sequence[float | None]) -> Slot:
    """A slot of requests that took so long in seconds, None = failed."""
    slot = Slot()
    for one in times:
        outcome = Outcome.STATUS if one is None else Outcome.OK
        slot.due += 1
        slot.done[outcome] = slot.done.get(outcome, 0) + 1
        (slot.failed if one is None else slot.ok).record(round((one or 0.004) * 1e6))
    return slot


def joined(pieces: Sequence[Slot]) -> Stretch:
    """Pieces of a second each."""
    whole = Slot()
    for one in pieces:
        whole.add(one)
    return Stretch(tuple(pieces), Sample(whole, float(len(pieces))))
