"""A station's absence, as stops were told of it: told once, and its end once, whichever gateway has it then.

It stands in the station's own row, beside what the station said of itself, so that the look at the door that
every connection takes anyway finds it."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import text

from store.database import TenantUnit
from store.platform import Station

_AWAY = "away_since"
_HELD_BY_ANOTHER = text(
    """
    SELECT queue <> '' AND generation <> :generation FROM route WHERE station_id = :station FOR UPDATE
    """
)
_MARK = text(
    """
    UPDATE station
    SET body = coalesce(body, '{}'::jsonb) || jsonb_build_object('away_since', CAST(:since AS text))
    WHERE tenant_id = :tenant AND station_id = :station
    """
)
_CLEAR = text(
    """
    UPDATE station SET body = body - 'away_since'
    WHERE tenant_id = :tenant AND station_id = :station AND body->>'away_since' = :since
    """
)
_EXPECTED = text(
    """
    SELECT EXISTS (SELECT FROM attempt WHERE tenant_id = :tenant AND station_id = :station
        AND connector_number = :number AND opened_at <= CAST(:at AS timestamptz) + interval '5 seconds'
        AND window_ends_at >= :at AND session_ref IS NULL)
    """
)


def away_since(station: Station | None) -> datetime | None:
    """Since when stops were told that it is away, if they were."""
    since = (station.body or {}).get(_AWAY) if station is not None else None
    return datetime.fromisoformat(str(since)) if since else None


async def mark_away(
    unit: TenantUnit, tenant_id: str, station_id: str, generation: str, since: datetime
) -> bool:
    """False, and nothing done, where a newer connection holds the station."""
    held = await unit.connection.execute(_HELD_BY_ANOTHER, {"station": station_id, "generation": generation})
    if held.scalar_one_or_none():
        return False
    values = {"tenant": tenant_id, "station": station_id, "since": since.isoformat()}
    await unit.connection.execute(_MARK, values)
    return True


async def clear_away(unit: TenantUnit, tenant_id: str, station_id: str, since: datetime) -> None:
    values = {"tenant": tenant_id, "station": station_id, "since": since.isoformat()}
    await unit.connection.execute(_CLEAR, values)


async def expects_start(
    unit: TenantUnit, tenant_id: str, station_id: str, connector_number: int, at: datetime
) -> bool:
    """Whether an attempt's window is open at the connector, and no session of it is known yet."""
    found = await unit.connection.execute(
        _EXPECTED, {"tenant": tenant_id, "station": station_id, "number": connector_number, "at": at}
    )
    return bool(found.scalar_one())
