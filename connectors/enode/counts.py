"""Prometheus metrics of this connector. Label values come from closed sets: no tenant, vehicle or stop."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

KNOWN_EVENTS: Final = frozenset(
    {
        "user:vehicle:discovered",
        "user:vehicle:updated",
        "user:vehicle:deleted",
        "user:vendor-action:updated",
        "user:charge-action:updated",
        "user:credentials:invalidated",
        "system:heartbeat",
        "enode:webhook:test",
        "pull",
    }
)

EVENTS = Counter(
    "backstop_enode_events",
    "Telematics events by name and result (applied, duplicate, kept, quarantined).",
    ["event", "result"],
)
DELIVERIES = Counter(
    "backstop_enode_deliveries",
    "Deliveries by result: stored, bad_signature, unknown_connection, too_large, unreadable, failed.",
    ["result"],
)
ACKNOWLEDGE_S = Histogram(
    "backstop_enode_acknowledge_seconds",
    "From the first byte of a delivery to its durable acknowledgement.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0),
)
PENDING = Gauge(
    "backstop_enode_pending_events",
    "Events the vendor still holds, as its last heartbeat said.",
    ["connection"],
)
API_CALLS = Counter("backstop_enode_api_calls", "Calls to the vendor's API by result.", ["result"])


def event_label(name: str) -> str:
    """A name we know, or `other`: a peer must not be able to create time series."""
    return name if name in KNOWN_EVENTS else "other"
