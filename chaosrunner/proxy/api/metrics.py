"""What `GET /metrics` shows to Prometheus: Toxiproxy's byte counters, live, and ours."""

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Literal

from chaosrunner.proxy.control import Control
from chaosrunner.proxy.proxies import Proxy
from chaosrunner.proxy.stats import AppliedToxic

if TYPE_CHECKING:
    from prometheus_client import Metric

Metrics = Literal["proxy", "runtime"]
"""What can be shown: the proxies and their toxics, or the process that runs them."""


def exposition(control: Control, wanted: Collection[Metrics], accept: str) -> tuple[bytes, str]:
    """The wanted metrics as they are now.

    Args:
        control: Whose proxies are counted.
        wanted: What is to be shown.
        accept: The `Accept` header of whoever asks, who may understand OpenMetrics.

    Returns:
        The text, and its content type.
    """
    from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
    from prometheus_client.exposition import choose_encoder

    registry = CollectorRegistry()
    if "proxy" in wanted:
        registry.register(_Proxies(control))
    if "runtime" in wanted:
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class _Proxies:
    """Reads the proxies' own counters, so that nothing is counted twice."""

    def __init__(self, control: Control) -> None:
        self._control = control

    def collect(self) -> "Iterator[Metric]":
        """Every metric with a sample for each proxy, or for each toxic."""
        from prometheus_client.core import GaugeMetricFamily

        proxies = self._control.proxies()
        yield from _bytes(proxies)
        yield from _connections(proxies)
        yield from _toxics(proxies)
        yield GaugeMetricFamily(
            "chaosrunner_proxy_leases_open", "Changes that will undo themselves.", len(self._control.leases)
        )


def _bytes(proxies: Iterable[Proxy]) -> "Iterator[Metric]":
    from prometheus_client.core import CounterMetricFamily

    # Names and labels are Toxiproxy's (collectors/proxy.go); it counts when a connection ends, we as bytes pass.
    labels = ["direction", "proxy", "listener", "upstream"]
    received = CounterMetricFamily("toxiproxy_proxy_received_bytes", "Bytes that came in.", labels=labels)
    sent = CounterMetricFamily("toxiproxy_proxy_sent_bytes", "Bytes handed on.", labels=labels)
    for proxy in proxies:
        where = [proxy.name, str(proxy.settings.listen.address), str(proxy.settings.upstream)]
        for direction, tally in (("upstream", proxy.tally.upstream), ("downstream", proxy.tally.downstream)):
            received.add_metric([direction, *where], tally.received)
            sent.add_metric([direction, *where], tally.bytes)
    yield received
    yield sent


def _connections(proxies: Iterable[Proxy]) -> "Iterator[Metric]":
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    prefix, labels = "chaosrunner_proxy_connections", ["proxy"]
    families: list[tuple[CounterMetricFamily | GaugeMetricFamily, Callable[[Proxy], int]]] = [
        (GaugeMetricFamily(f"{prefix}_open", "Open now.", labels=labels), lambda proxy: proxy.open_connections),
        (CounterMetricFamily(f"{prefix}_opened", "Accepted.", labels=labels), lambda proxy: proxy.tally.opened),
        (
            CounterMetricFamily(f"{prefix}_refused", "Not let in.", labels=labels),
            lambda proxy: proxy.tally.refused,
        ),
        (CounterMetricFamily(f"{prefix}_cut", "Cut by a change.", labels=labels), lambda proxy: proxy.tally.cut),
    ]
    for family, count in families:
        for proxy in proxies:
            family.add_metric([proxy.name], count(proxy))
        yield family


def _toxics(proxies: Iterable[Proxy]) -> "Iterator[Metric]":
    from prometheus_client.core import CounterMetricFamily, SummaryMetricFamily

    prefix, labels = "chaosrunner_proxy_toxic", ["proxy", "toxic", "type", "stream"]
    touched = CounterMetricFamily(f"{prefix}_connections", "Connections it touched.", labels=labels)
    entered = CounterMetricFamily(f"{prefix}_bytes", "Bytes that entered it.", labels=labels)
    delayed = SummaryMetricFamily(f"{prefix}_delay_seconds", "How late it let go what it held.", labels=labels)
    for proxy in proxies:
        for applied in proxy.toxics():
            values = [proxy.name, *_identity(applied)]
            touched.add_metric(values, applied.connections)
            entered.add_metric(values, applied.bytes)
            delayed.add_metric(values, applied.delays.total, applied.delayed_s)
    yield touched
    yield entered
    yield delayed


def _identity(applied: AppliedToxic) -> list[str]:
    return [applied.toxic.name, applied.toxic.type, applied.toxic.stream]
