"""The gateway's own figures for Prometheus. Labels are words of ours: no station, no tenant, no vendor."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from connectors.ocpp.server import Gateway


class GatewayCollector(Collector):
    """Reads a gateway's counters when asked."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    @classmethod
    def register(cls, gateway: Gateway) -> None:
        REGISTRY.register(cls(gateway))

    def collect(self) -> Iterator[Metric]:
        stations = GaugeMetricFamily("backstop_gateway_stations", "Charge points connected to this gateway")
        stations.add_metric([], self._gateway.connected)
        yield stations
        events = CounterMetricFamily(
            "backstop_gateway_events", "What the RPC layer and the door counted", labels=["event"]
        )
        for event, number in sorted(self._gateway.counts.items()):
            events.add_metric([event], number)
        yield events
