"""Our own Prometheus metrics: the gateway's set, and the endpoint that serves them.

Labels come from closed sets. No tenant, stop, vehicle or station in a label: they grow without bound, and
some would be personal data."""

from __future__ import annotations

import threading
from collections.abc import Collection
from typing import Any

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, start_http_server

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


def bounded(value: str, allowed: Collection[str]) -> str:
    """The value where it is one of the allowed, else `other`: a peer must not create time series."""
    return value if value in allowed else "other"


class GatewayMetrics:
    """What an OCPP gateway measures. `registry` is the process's own by default."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.stations = Gauge(
            "backstop_gateway_stations", "Stations connected now.", ["protocol"], registry=registry
        )
        self.connections = Counter(
            "backstop_gateway_connections",
            "Connection attempts by result.",
            ["protocol", "result"],
            registry=registry,
        )
        self.frames = Counter(
            "backstop_gateway_frames",
            "Frames by direction (in, out), action and result (ok, error, unreadable).",
            ["direction", "action", "result"],
            registry=registry,
        )
        self.answer_seconds = Histogram(
            "backstop_gateway_answer_seconds",
            "From a frame's arrival to its answer, durability included.",
            ["action"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.commands = Counter(
            "backstop_gateway_commands",
            "Commands by kind and outcome.",
            ["kind", "outcome"],
            registry=registry,
        )
        self.command_seconds = Histogram(
            "backstop_gateway_command_seconds",
            "From a command to the station's reply.",
            ["kind"],
            buckets=_SECONDS,
            registry=registry,
        )


class MetricsEndpoint:
    """A running /metrics endpoint."""

    def __init__(self, server: Any, thread: threading.Thread) -> None:
        self._server = server
        self._thread = thread

    @property
    def port(self) -> int:
        return int(self._server.server_port)

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)


def serve_metrics(host: str, port: int, registry: CollectorRegistry = REGISTRY) -> MetricsEndpoint:
    """Serves the registry on /metrics from a thread of its own; port 0 takes a free one."""
    server, thread = start_http_server(port, addr=host, registry=registry)
    return MetricsEndpoint(server, thread)
