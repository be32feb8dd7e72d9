"""Heartbeat (OCPP 2.0.1 part 2, G02)."""

from __future__ import annotations

from connectors.ocpp.clock import now_text
from connectors.ocpp.rpc import Answer
from connectors.ocpp.schemas import Json
from connectors.ocpp.session import StationSession


async def handle(session: StationSession, payload: Json) -> Answer:
    return Answer({"currentTime": now_text()})
