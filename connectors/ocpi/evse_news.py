"""What a changed location tells stops on their way to its connectors: turns only. Pure: the same change gives
the same evidence with the same event ids."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final, NamedTuple

from connectors.ocpi.enums import EvseStatus
from connectors.ocpi.evidence import of_connector, told_at
from connectors.ocpi.objects import Location
from models.evidence import Evidence, EvidenceKind

_KIND: Final = {
    EvseStatus.AVAILABLE: EvidenceKind.CONNECTOR_AVAILABLE,
    # Perhaps it is our own session: the stop knows. Nobody else can tell them apart.
    EvseStatus.CHARGING: EvidenceKind.CONNECTOR_OCCUPIED,
    EvseStatus.RESERVED: EvidenceKind.CONNECTOR_OCCUPIED,
    EvseStatus.BLOCKED: EvidenceKind.CONNECTOR_OCCUPIED,
    EvseStatus.OUTOFORDER: EvidenceKind.CONNECTOR_FAULTED,
    EvseStatus.INOPERATIVE: EvidenceKind.CONNECTOR_FAULTED,
    EvseStatus.REMOVED: EvidenceKind.CHARGER_REMOVED,
    EvseStatus.PLANNED: EvidenceKind.CHARGER_REMOVED,
}
_VANISHED: Final = "vanished"
_A_MOMENT: Final = timedelta(milliseconds=1)
Key = tuple[str, str]


class _Seen(NamedTuple):
    """A connector as one version of its location shows it, in the partner's spelling."""

    evse_uid: str
    connector_id: str
    status: str
    updated: datetime


def _connectors(location: Location) -> dict[Key, _Seen]:
    """By EVSE and connector; ids compare without case."""
    return {
        (evse.uid.casefold(), connector.id.casefold()): _Seen(
            evse.uid, connector.id, str(evse.status), evse.last_updated.at
        )
        for evse in location.evses or []
        for connector in evse.connectors
    }


def _kind(status: str) -> EvidenceKind | None:
    return _KIND.get(EvseStatus(status)) if status in set(EvseStatus) else None


def turns(before: Location | None, after: Location, withdrawn_at: datetime | None) -> list[Evidence]:
    """News of connectors that were known before. `withdrawn_at`: since when the partner's lists lacked them.

    A status without meaning (UNKNOWN, or new) tells nothing; what follows it is told, for nobody remembers
    what it followed."""
    if before is None:
        return []
    was, now = _connectors(before), _connectors(after)
    found: list[Evidence] = []
    latest = after.last_updated.at
    if withdrawn_at is not None:
        latest = max(latest, withdrawn_at + _A_MOMENT)  # it may be listed again as it was
    for key, old in was.items():
        new = now.get(key)
        old_kind = EvidenceKind.CHARGER_REMOVED if withdrawn_at else _kind(old.status)
        kind = EvidenceKind.CHARGER_REMOVED if new is None else _kind(new.status)
        if kind is None or kind is old_kind:
            continue
        # Some feeds change a status and no time of the EVSE's: then the location's own is the news.
        is_dated = new is not None and new.updated != old.updated and withdrawn_at is None
        at, detail = told_at(new.updated if new is not None and is_dated else latest, latest)
        seen = new or old
        found.append(
            of_connector(
                after.country_code,
                after.party_id,
                seen.evse_uid,
                seen.connector_id,
                kind,
                _VANISHED if new is None else new.status,
                at,
                detail=detail,
            )
        )
    return found


def withdrawn(location: Location, at: datetime) -> list[Evidence]:
    """The partner's full list lacks the location since `at`."""
    return [
        of_connector(
            location.country_code,
            location.party_id,
            seen.evse_uid,
            seen.connector_id,
            EvidenceKind.CHARGER_REMOVED,
            _VANISHED,
            at,
        )
        for seen in _connectors(location).values()
    ]


def vanished(before: Location | None, after: Location) -> Location | None:
    """The location as it was, with only those connectors that it has no more; None where there are none."""
    if before is None:
        return None
    now = _connectors(after)
    left = [
        evse.model_copy(
            update={
                "connectors": [
                    connector
                    for connector in evse.connectors
                    if (evse.uid.casefold(), connector.id.casefold()) not in now
                ]
            }
        )
        for evse in before.evses or []
    ]
    gone = [evse for evse in left if evse.connectors]
    return before.model_copy(update={"evses": gone}) if gone else None
