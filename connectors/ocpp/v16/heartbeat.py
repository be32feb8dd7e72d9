"""Heartbeat (OCPP 1.6 section 4.6)."""

from __future__ import annotations

from connectors.ocpp.clock import now_text
from connectors.ocpp.rpc import Answer
from connectors.ocpp.schemas import Json
from connectors.ocpp.session import StationSession


async def handle(session: StationSession, payload: Json) -> Answer:
    return Answer({"currentTime": now_text()})
