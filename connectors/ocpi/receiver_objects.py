"""Locations, tariffs, sessions and charge records, as partners push them (sections 8 to 11)."""

from __future__ import annotations

from typing import Any, Final

from fastapi import Response

from connectors.ocpi.exchange import Exchange, Handler, Refusal, envelope
from connectors.ocpi.intake import CDR, LOCATION, SESSION, TARIFF, object_key
from connectors.ocpi.merge import PatchRefused, child, merged, newer, patch_instant, with_child
from connectors.ocpi.objects import Session
from connectors.ocpi.ports import StoredObject


def _unknown() -> Refusal:
    return Refusal(2003, "unknown object", 404)


def _location_key(exchange: Exchange) -> str:
    country, party = exchange.check_party()
    return object_key(country, party, exchange.part("location_id"))


# --- locations ---------------------------------------------------------------------------------------------


def _inside(exchange: Exchange, location: dict[str, Any]) -> dict[str, Any]:
    """The location, EVSE or connector that the URL names. Raises Refusal 404."""
    found: dict[str, Any] | None = location
    parts = exchange.request.path_params
    if "evse_uid" in parts:
        found = child(location, "evses", "uid", exchange.part("evse_uid"))
    if found is not None and "connector_id" in parts:
        found = child(found, "connectors", "id", exchange.part("connector_id"))
    if found is None:
        raise _unknown()
    return found


def _put_inside(exchange: Exchange, location: dict[str, Any], entry: dict[str, Any]) -> dict[str, Any]:
    """The location with the entry at the place that the URL names."""
    parts = exchange.request.path_params
    if "evse_uid" not in parts:
        return entry
    if "connector_id" in parts:
        evse = child(location, "evses", "uid", exchange.part("evse_uid"))
        if evse is None:
            raise _unknown()
        entry = with_child(evse, "connectors", "id", entry)
    return with_child(location, "evses", "uid", entry)


def _check_location_ids(exchange: Exchange, body: dict[str, Any]) -> None:
    parts = exchange.request.path_params
    if "connector_id" in parts:
        exchange.check_ids(body, id=exchange.part("connector_id"))
    elif "evse_uid" in parts:
        exchange.check_ids(body, uid=exchange.part("evse_uid"))
    else:
        exchange.check_ids(
            body,
            country_code=exchange.part("country_code"),
            party_id=exchange.part("party_id"),
            id=exchange.part("location_id"),
        )


async def get_location(exchange: Exchange) -> Response:
    key = _location_key(exchange)
    async with exchange.intake.store.unit(exchange.link) as unit:
        stored = await unit.get(LOCATION, key)
    if stored is None:
        raise _unknown()
    return envelope(_inside(exchange, stored.body))


async def put_location(exchange: Exchange) -> Response:
    _location_key(exchange)
    body = await exchange.body("locations")
    _check_location_ids(exchange, body)
    await exchange.intake.take_location(exchange.link, body)
    return envelope()


async def change_location(exchange: Exchange) -> Response:
    """PATCH of a location, PUT and PATCH of an EVSE or connector: all change a stored location."""
    key = _location_key(exchange)
    body = await exchange.body("locations")
    _check_location_ids(exchange, body)
    is_patch = exchange.request.method == "PATCH"
    try:
        patch_instant(body)
    except PatchRefused as error:
        raise Refusal(2001, str(error)) from error

    def change(stored: StoredObject | None) -> dict[str, Any] | None:
        if stored is None:
            raise _unknown()
        try:
            current = _inside(exchange, stored.body)
        except Refusal:
            if is_patch:
                raise
            current = {}  # a PUT adds what is not there
        if newer(current.get("last_updated"), body["last_updated"]):
            return None
        return _put_inside(exchange, stored.body, merged(current, body) if is_patch else body)

    if await exchange.intake.change_location(exchange.link, key, change):
        return envelope()
    await exchange.intake.set_aside(exchange.link, "locations", "older_than_stored", body, key)
    return envelope(message="older than what is stored; kept aside")


# --- tariffs -----------------------------------------------------------------------------------------------


def _tariff_key(exchange: Exchange) -> str:
    country, party = exchange.check_party()
    return object_key(country, party, exchange.part("tariff_id"))


async def get_tariff(exchange: Exchange) -> Response:
    key = _tariff_key(exchange)
    async with exchange.intake.store.unit(exchange.link) as unit:
        stored = await unit.get(TARIFF, key)
    if stored is None or stored.body.get("deleted"):
        raise _unknown()
    return envelope(stored.body)


async def put_tariff(exchange: Exchange) -> Response:
    _tariff_key(exchange)
    body = await exchange.body("tariffs")
    exchange.check_ids(
        body,
        country_code=exchange.part("country_code"),
        party_id=exchange.part("party_id"),
        id=exchange.part("tariff_id"),
    )
    await exchange.intake.take_tariff(exchange.link, body)
    return envelope()


async def delete_tariff(exchange: Exchange) -> Response:
    key = _tariff_key(exchange)
    if not await exchange.intake.drop_tariff(exchange.link, key):
        raise _unknown()
    return envelope()


# --- sessions ----------------------------------------------------------------------------------------------


def _session_key(exchange: Exchange) -> str:
    country, party = exchange.check_party()
    return object_key(country, party, exchange.part("session_id"))


def _check_session_ids(exchange: Exchange, body: dict[str, Any]) -> None:
    exchange.check_ids(
        body,
        country_code=exchange.part("country_code"),
        party_id=exchange.part("party_id"),
        id=exchange.part("session_id"),
    )


async def get_session(exchange: Exchange) -> Response:
    key = _session_key(exchange)
    async with exchange.intake.store.unit(exchange.link) as unit:
        stored = await unit.get(SESSION, key)
    if stored is None:
        raise _unknown()
    return envelope(stored.body)


async def put_session(exchange: Exchange) -> Response:
    _session_key(exchange)
    body = await exchange.body("sessions")
    _check_session_ids(exchange, body)
    await exchange.intake.take_session(exchange.link, body)
    return envelope()


async def patch_session(exchange: Exchange) -> Response:
    key = _session_key(exchange)
    body = await exchange.body("sessions")
    _check_session_ids(exchange, body)
    try:
        patch_instant(body)
    except PatchRefused as error:
        raise Refusal(2001, str(error)) from error
    intake, link = exchange.intake, exchange.link
    session: Session | None = None
    async with intake.store.unit(link) as unit:
        await unit.lock(f"{SESSION}:{key}")
        stored = await unit.get(SESSION, key)
        if stored is None:
            raise _unknown()
        if not newer(stored.body.get("last_updated"), body["last_updated"]):
            whole = merged(stored.body, body, appends="charging_periods")
            session = intake.read_session(whole)
            await unit.put(SESSION, key, whole, session.last_updated.at)
    if session is None:
        await intake.set_aside(link, "sessions", "older_than_stored", body, key)
        return envelope(message="older than what is stored; kept aside")
    await intake.tell_session(link, session)
    return envelope()


# --- charge records ----------------------------------------------------------------------------------------


class ChargeRecords:
    """POST, and GET by the URL that we gave in the answer's Location header."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def post(self, exchange: Exchange) -> Response:
        body = await exchange.body("cdrs")
        country, party = str(body.get("country_code")), str(body.get("party_id"))
        if not exchange.link.speaks_for(country, party):
            await exchange.intake.set_aside(exchange.link, "cdrs", "foreign_party", body)
            raise Refusal(2001, "no such party here")
        key = await exchange.intake.take_charge_record(exchange.link, body)
        response = envelope(http_status=201)
        response.headers["location"] = f"{self._url}/{key}"
        return response

    async def get(self, exchange: Exchange) -> Response:
        async with exchange.intake.store.unit(exchange.link) as unit:
            stored = await unit.get(CDR, exchange.part("key"))
        if stored is None:
            raise _unknown()
        return envelope(stored.body)


_PARTY: Final = "{country_code}/{party_id}"
_LOCATION: Final = f"locations/{_PARTY}/{{location_id}}"
_EVSE: Final = f"{_LOCATION}/{{evse_uid}}"
_CONNECTOR: Final = f"{_EVSE}/{{connector_id}}"
_TARIFF: Final = f"tariffs/{_PARTY}/{{tariff_id}}"
_SESSION: Final = f"sessions/{_PARTY}/{{session_id}}"

ROUTES: Final[tuple[tuple[str, str, str, Handler], ...]] = (
    *(("locations", "GET", path, get_location) for path in (_LOCATION, _EVSE, _CONNECTOR)),
    ("locations", "PUT", _LOCATION, put_location),
    ("locations", "PATCH", _LOCATION, change_location),
    *(
        ("locations", method, path, change_location)
        for method in ("PUT", "PATCH")
        for path in (_EVSE, _CONNECTOR)
    ),
    ("tariffs", "GET", _TARIFF, get_tariff),
    ("tariffs", "PUT", _TARIFF, put_tariff),
    ("tariffs", "DELETE", _TARIFF, delete_tariff),
    ("sessions", "GET", _SESSION, get_session),
    ("sessions", "PUT", _SESSION, put_session),
    ("sessions", "PATCH", _SESSION, patch_session),
)
"""(module, method, path below the version, handler)."""
