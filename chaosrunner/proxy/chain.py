"""Which stage acts for which toxic."""

from collections.abc import Callable
from random import Random
from typing import assert_never

from chaosrunner.proxy.delays import BandwidthStage, LatencyStage, SlicerStage
from chaosrunner.proxy.endings import LimitDataStage, ResetPeerStage, SlowCloseStage, TimeoutStage
from chaosrunner.proxy.stage import Stage
from chaosrunner.proxy.stats import AppliedToxic
from chaosrunner.proxy.toxics import (
    Bandwidth,
    Latency,
    LimitData,
    Noop,
    ResetPeer,
    Slicer,
    SlowClose,
    Timeout,
)


def stage_for(applied: AppliedToxic, random: Random, review: Callable[[], None]) -> Stage:
    """The stage that acts as `applied` asks.

    Args:
        applied: The toxic and its counters.
        random: The draws of this connection and toxic.
        review: Called after a timer let something go, so that back-pressure is looked at again.
    """
    return _stage_type(applied)(applied, random, review)


def _stage_type(applied: AppliedToxic) -> type[Stage]:
    match applied.toxic.attributes:
        case Noop():
            return Stage
        case Latency():
            return LatencyStage
        case Bandwidth():
            return BandwidthStage
        case SlowClose():
            return SlowCloseStage
        case Timeout():
            return TimeoutStage
        case ResetPeer():
            return ResetPeerStage
        case Slicer():
            return SlicerStage
        case LimitData():
            return LimitDataStage
        case unknown:
            assert_never(unknown)
