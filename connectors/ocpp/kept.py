"""Actions that are kept in the station's log and answered, and change nothing else: a row is all of them."""

from __future__ import annotations

from connectors.ocpp.action import Action
from connectors.ocpp.redaction import masked
from connectors.ocpp.session import StationSession
from connectors.ocpp.wire.rpc import Answer
from connectors.ocpp.wire.schemas import Json
from models.station import StationEventKind

_MOST_ITEMS = 1_000


def kept(kind: StationEventKind, action: str, *fields: str, answer: Json | None = None) -> Action:
    """An Action that logs `fields` of the payload, without secrets, under `kind` and answers `answer`."""
    reply = answer or {}

    async def handle(session: StationSession, payload: Json) -> Answer:
        body: dict[str, object] = {"message": action}
        for field in fields:
            value = payload.get(field)
            if value is not None:
                body[field] = value[:_MOST_ITEMS] if isinstance(value, list | str) else value
        await session.note(kind, masked(body))
        return Answer(reply)

    return Action(handle)
