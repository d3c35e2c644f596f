"""Which stage acts for which toxic."""

from collections.abc import Mapping

from chaosrunner.proxy.stats import AppliedToxic
from chaosrunner.proxy.toxics import kinds
from chaosrunner.proxy.toxics.delays import BandwidthStage, LatencyStage, SlicerStage
from chaosrunner.proxy.toxics.endings import LimitDataStage, ResetPeerStage, SlowCloseStage, TimeoutStage
from chaosrunner.proxy.toxics.losses import CorruptStage, DropStage, SilenceStage
from chaosrunner.proxy.toxics.luck import Luck
from chaosrunner.proxy.toxics.stage import Means, Stage

STAGES: Mapping[type, type[Stage]] = {
    kinds.Noop: Stage,
    kinds.Latency: LatencyStage,
    kinds.Bandwidth: BandwidthStage,
    kinds.SlowClose: SlowCloseStage,
    kinds.Timeout: TimeoutStage,
    kinds.ResetPeer: ResetPeerStage,
    kinds.Slicer: SlicerStage,
    kinds.LimitData: LimitDataStage,
    kinds.Corrupt: CorruptStage,
    kinds.Drop: DropStage,
    kinds.Silence: SilenceStage,
}


def stage_for(applied: AppliedToxic, luck: Luck, means: Means) -> Stage:
    """The stage that acts as `applied`, a toxic of the family `stream`, asks on one connection."""
    return STAGES[type(applied.toxic.attributes)](applied, luck, means)
