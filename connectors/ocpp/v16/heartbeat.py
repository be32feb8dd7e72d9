"""Heartbeat (OCPP 1.6 section 4.6)."""

from __future__ import annotations

from connectors.ocpp.session import StationSession
from connectors.ocpp.truth.clock import now_text
from connectors.ocpp.wire.rpc import Answer
from connectors.ocpp.wire.schemas import Json


async def handle(session: StationSession, payload: Json) -> Answer:
    return Answer({"currentTime": now_text()})
