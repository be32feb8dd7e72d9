"""Heartbeat (OCPP 2.0.1 part 2, G02)."""

from __future__ import annotations

from connectors.ocpp.session import StationSession
from connectors.ocpp.truth.clock import now_text
from connectors.ocpp.wire.rpc import Answer
from connectors.ocpp.wire.schemas import Json


async def handle(session: StationSession, payload: Json) -> Answer:
    return Answer({"currentTime": now_text()})
