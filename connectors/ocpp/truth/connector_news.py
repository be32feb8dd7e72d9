"""What stops on their way to a connector are told of it: turns only, and only what another than our own
session did to it."""

from __future__ import annotations

from typing import NamedTuple

from connectors.ocpp.truth.connector_state import ConnectorState
from models.charger import ConnectorStatus
from models.evidence import EvidenceKind

_KIND = {
    ConnectorState.FREE: EvidenceKind.CONNECTOR_AVAILABLE,
    # 2.x has one word for all that is not free; whose plug it is, the stop judges.
    ConnectorState.OCCUPIED: EvidenceKind.PLUGGED_IN,
    ConnectorState.CHARGING: EvidenceKind.CONNECTOR_OCCUPIED,
    ConnectorState.PAUSED_BY_VEHICLE: EvidenceKind.CONNECTOR_OCCUPIED,
    ConnectorState.PAUSED_BY_STATION: EvidenceKind.CONNECTOR_OCCUPIED,
    ConnectorState.FINISHING: EvidenceKind.CONNECTOR_OCCUPIED,
    ConnectorState.RESERVED: EvidenceKind.CONNECTOR_OCCUPIED,
    ConnectorState.FAULTED: EvidenceKind.CONNECTOR_FAULTED,
    ConnectorState.OUT_OF_SERVICE: EvidenceKind.CONNECTOR_FAULTED,
}
_IN_USE = (ConnectorStatus.OCCUPIED, ConnectorStatus.RESERVED, ConnectorStatus.FAULTED)


class News(NamedTuple):
    """`words`: whose change is news, too (the code of a fault)."""

    kind: EvidenceKind
    words: str = ""


class ConnectorNews:
    """One connector's. Ask `turn`, and say `told` once it is durable."""

    __slots__ = ("_is_ours", "_last", "_owes_free")

    def __init__(self, status: ConnectorStatus | None = None, fault_code: str = "") -> None:
        """`status`, `fault_code`: as they were kept from an earlier connection. What an occupied connector
        was told to be then, nobody wrote down: it is told once more."""
        self._is_ours = False
        self._owes_free = status in _IN_USE
        self._last: News | None = None
        if status is ConnectorStatus.FAULTED:
            self._last = News(EvidenceKind.CONNECTOR_FAULTED, fault_code)
        elif status is ConnectorStatus.RESERVED:
            self._last = News(EvidenceKind.CONNECTOR_OCCUPIED)

    def turn(self, state: ConnectorState, words: str = "") -> News | None:
        """What is to be told of the connector's state, if anything."""
        kind = _KIND.get(state)
        if kind is None:
            return None
        if kind is EvidenceKind.CONNECTOR_AVAILABLE:
            self._is_ours = False
            return News(kind) if self._owes_free else None
        if state is ConnectorState.FINISHING and self._is_ours:
            return None  # the vehicle of our own session has not left yet
        news = News(kind, words if kind is EvidenceKind.CONNECTOR_FAULTED else "")
        return None if news == self._last else news

    def told(self, news: News) -> None:
        self._last = news
        self._owes_free = news.kind is not EvidenceKind.CONNECTOR_AVAILABLE

    def is_ours(self) -> None:
        """A session of ours runs there: what others do there next is news."""
        self._is_ours = True
        if self._last is not None and self._last.kind is EvidenceKind.CONNECTOR_OCCUPIED:
            self._last = None
