"""Prometheus metrics of this connector. Label values come from closed sets: no tenant, partner or session."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter

CALLS = Counter(
    "backstop_ocpi_calls", "Calls to roaming partners by module and result.", ["module", "result"]
)
RECEIVED = Counter(
    "backstop_ocpi_received",
    "Requests of roaming partners by module and result (taken, refused, quarantined, unauthorised).",
    ["module", "result"],
)
UNKNOWN_ENUMS = Counter(
    "backstop_ocpi_unknown_enums", "Enum values the specification does not know.", ["enum"]
)
SESSION_EVIDENCE = Counter("backstop_ocpi_session_evidence", "How sessions were correlated.", ["by"])

_MODULES: Final = frozenset(
    {"versions", "credentials", "locations", "sessions", "cdrs", "tariffs", "tokens", "commands"}
)


def module_label(name: str) -> str:
    """A module we know, or `other`: a peer must not be able to create time series."""
    return name if name in _MODULES else "other"
