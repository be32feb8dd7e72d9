"""Prometheus metrics of evidence. Label values come from closed sets: no tenant, stop or vehicle."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge

DELIVERED: Final = Counter(
    "backstop_evidence_delivered",
    "Rows of evidence by where they went: stop, keeper, nobody (the stop has closed, and its books know it).",
    ["to"],
)
DELAYED: Final = Counter(
    "backstop_evidence_delayed",
    "Tries of a row that failed, by cause: not_begun, slow, unavailable, refused, failed.",
    ["cause"],
)
QUARANTINED: Final = Counter(
    "backstop_evidence_quarantined",
    "Evidence set aside: unstorable, unreadable, undeliverable.",
    ["reason"],
)
WAITING_ROWS: Final = Gauge("backstop_evidence_waiting_rows", "Rows of evidence that wait for delivery.")
WAITING_OLDEST_S: Final = Gauge(
    "backstop_evidence_waiting_oldest_seconds", "For how long the oldest of them has waited."
)
