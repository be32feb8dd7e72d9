"""Our tokens, as partners pull and authorise them (section 12, sender)."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from fastapi import Response
from pydantic import ValidationError

from connectors.ocpi.enums import TokenType
from connectors.ocpi.exchange import Exchange, Handler, Refusal, envelope
from connectors.ocpi.intake import TOKEN, faults_of, object_key
from connectors.ocpi.objects import Token
from connectors.ocpi.ports import StoredObject
from connectors.ocpi.wire import CiString, Instant, Wire

_LIMIT: Final = 1000


class LocationReferences(Wire):
    location_id: CiString
    evse_uids: list[CiString] | None = None


def _number(exchange: Exchange, name: str, default: int) -> int:
    text = exchange.request.query_params.get(name)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise Refusal(2001, f"{name} is no number")
    return int(text)


def _instant(exchange: Exchange, name: str) -> datetime | None:
    text = exchange.request.query_params.get(name)
    if text is None:
        return None
    try:
        # A raw plus sign in a query arrives as a blank.
        return Instant(text.replace(" ", "+")).at
    except ValueError:
        raise Refusal(2001, f"{name} is no time") from None


async def list_tokens(exchange: Exchange) -> Response:
    """Paged: date_from inclusive, date_to exclusive, both on last_updated."""
    offset, limit = _number(exchange, "offset", 0), min(_number(exchange, "limit", _LIMIT), _LIMIT)
    since, until = _instant(exchange, "date_from"), _instant(exchange, "date_to")
    async with exchange.intake.store.unit(exchange.link) as unit:
        stored = await unit.all(TOKEN)

    def wanted(item: StoredObject) -> bool:
        at = item.last_updated
        return at is None or ((since is None or at >= since) and (until is None or at < until))

    found = [item.body for item in stored if wanted(item)]
    response = envelope(found[offset : offset + limit])
    response.headers["x-total-count"] = str(len(found))
    response.headers["x-limit"] = str(_LIMIT)
    if limit > 0 and offset + limit < len(found):
        following = exchange.request.url.include_query_params(offset=offset + limit, limit=limit)
        path = exchange.request.url.path
        base = f"{exchange.public_url}{path}"
        response.headers["link"] = f'<{base}?{following.query}>; rel="next"'
    return response


async def authorize(exchange: Exchange) -> Response:
    """Real-time authorisation. We judge the token, never opening hours or the EVSE's status."""
    kind = exchange.request.query_params.get("type", TokenType.RFID.value)
    references: dict[str, Any] | None = None
    if exchange.raw.strip():
        references = await exchange.body("tokens")
        try:
            LocationReferences.model_validate(references)
        except ValidationError as error:
            raise Refusal(2001, faults_of(error)) from None
    link = exchange.link
    key = object_key(link.our_country_code, link.our_party_id, exchange.part("token_uid"))
    async with exchange.intake.store.unit(link) as unit:
        stored = await unit.get(TOKEN, key)
    if stored is None or stored.body.get("type") != kind:
        raise Refusal(2004, "unknown token", 404)
    token = Token.model_validate(stored.body)
    info: dict[str, Any] = {
        "allowed": "ALLOWED" if token.valid else "BLOCKED",
        "token": stored.body,
    }
    if references is not None and token.valid:
        info["location"] = references
    return envelope(info)


ROUTES: Final[tuple[tuple[str, str, str, Handler], ...]] = (
    ("tokens", "GET", "tokens", list_tokens),
    ("tokens", "POST", "tokens/{token_uid}/authorize", authorize),
)
