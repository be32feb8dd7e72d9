"""Authorize (OCPP 1.6 section 4.1): known is the token of an attempt of ours at this station.

A refusal would kill the very start that we asked for (AuthorizeRemoteTxRequests), and an acceptance of
strangers would give energy away: so neither is said blindly."""

from __future__ import annotations

from connectors.ocpp.session import StationSession
from connectors.ocpp.wire.rpc import Answer
from connectors.ocpp.wire.schemas import Json


async def handle(session: StationSession, payload: Json) -> Answer:
    known = await session.house.knows_token(session.station, str(payload["idTag"]))
    return Answer({"idTagInfo": {"status": "Accepted" if known else "Invalid"}})
