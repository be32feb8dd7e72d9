"""Authorize (OCPP 2.0.1 part 2, C01): as in 1.6, known is the token of an attempt of ours."""

from __future__ import annotations

from connectors.ocpp.session import StationSession
from connectors.ocpp.wire.rpc import Answer
from connectors.ocpp.wire.schemas import Json


async def handle(session: StationSession, payload: Json) -> Answer:
    token: Json = payload["idToken"]
    known = await session.house.knows_token(session.station, str(token["idToken"]))
    return Answer({"idTokenInfo": {"status": "Accepted" if known else "Unknown"}})
