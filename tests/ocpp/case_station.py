"""A scripted station for the case lists: calls the gateway, answers what a case says, keeps what it was
asked.

Every payload in either direction is checked against its JSON schema, so that a case can fail on ours or on
its own. A command that no case expects is answered with CALLERROR NotSupported and kept in `unasked`."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from websockets.exceptions import ConnectionClosed

from connectors.ocpp.wire.schemas import Json, Version, schemas_of
from models.commands import CommandKind, CommandOutcome, CommandReply
from models.ids import attempt_id_for, remote_start_id_for
from models.station import StationSettings
from models.stop import Attempt
from store.attempts import AttemptIntent
from tests.ocpp.conftest import Client, Site

BOOT_16 = {"chargePointVendor": "Vendor", "chargePointModel": "Model"}
BOOT_201 = {"chargingStation": {"vendorName": "Vendor", "model": "Model"}, "reason": "PowerUp"}
REPLY_WITHIN_S = 5.0


def at(seconds: float = 0) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


class Refused(Exception):
    """The gateway answered with CALLERROR; the message is its code."""


class Station:
    def __init__(self, client: Client, version: Version) -> None:
        self.asked: list[tuple[str, Json]] = []
        self.unasked: list[tuple[str, Json]] = []
        self._client = client
        self._schemas = schemas_of(version)
        self._answers: dict[str, deque[Json | str]] = {}
        self._waiting: dict[str, asyncio.Future[Json]] = {}

    # --- station to gateway -----------------------------------------------------------------------------

    async def call(self, action: str, payload: Json) -> Json:
        """The gateway's reply. Raises Refused with the code of a CALLERROR."""
        self._schemas.check(action, payload)
        message_id = uuid.uuid4().hex
        waiting = self._waiting[message_id] = asyncio.get_running_loop().create_future()
        await self._client.socket.send(json.dumps([2, message_id, action, payload]))
        async with asyncio.timeout(REPLY_WITHIN_S):
            reply = await waiting
        self._schemas.check(action, reply, response=True)
        return reply

    async def says(self, *messages: tuple[str, Json]) -> None:
        """Notifications in order; each has an empty reply."""
        for action, payload in messages:
            assert await self.call(action, payload) == {}, action

    # --- gateway to station -----------------------------------------------------------------------------

    def answers(self, action: str, *replies: Json | str) -> None:
        """What the station replies to its next commands of that name; a string is a CALLERROR's code."""
        self._answers.setdefault(action, deque()).extend(replies)

    async def read(self) -> None:
        """Until the socket closes."""
        try:
            async for raw in self._client.socket:
                frame: list[Any] = json.loads(raw)
                if frame[0] == 2:
                    await self._reply(frame[1], frame[2], frame[3])
                elif (waiting := self._waiting.pop(frame[1], None)) is not None and frame[0] == 3:
                    waiting.set_result(frame[2])
                elif waiting is not None:
                    waiting.set_exception(Refused(frame[2]))
        except ConnectionClosed:
            pass

    async def _reply(self, message_id: str, action: str, payload: Json) -> None:
        self._schemas.check(action, payload)
        prepared = self._answers.get(action)
        (self.asked if prepared else self.unasked).append((action, payload))
        answer = prepared.popleft() if prepared else "NotSupported"
        if isinstance(answer, str):
            frame: list[Any] = [4, message_id, answer, "", {}]
        else:
            self._schemas.check(action, answer, response=True)
            frame = [3, message_id, answer]
        await self._client.socket.send(json.dumps(frame))


@asynccontextmanager
async def connected(
    site: Site, version: Version, *, boot: bool = True, client: Client | None = None
) -> AsyncGenerator[Station]:
    """A station that has connected (as `client`, where given) and, unless told otherwise, booted."""
    client = client or await site.connect(version)
    station = Station(client, version)
    reader = asyncio.create_task(station.read())
    try:
        if boot:
            reply = await station.call("BootNotification", BOOT_16 if version is Version.V16 else BOOT_201)
            assert reply["status"] == "Accepted"
        yield station
    finally:
        await client.socket.close()
        await reader


# --- commands -------------------------------------------------------------------------------------------

_YES = {
    "Accepted",
    "Unlocked",
    "Scheduled",
    "RebootRequired",
    "EmptyResultSet",
    "AcceptedCanceled",
    "Unpublished",
}


async def command(
    site: Site,
    station: Station,
    action: str,
    payload: Json,
    answer: Json,
    outcome: CommandOutcome | None = None,
) -> None:
    """One command through `Gateway.request`: it arrives word for word, and the answer comes back.

    `outcome`: what the answer counts as, where its status does not say."""
    station.answers(action, answer)
    reply = await site.gateway.request(site.station_id, action, payload, REPLY_WITHIN_S)
    assert station.asked[-1] == (action, payload)
    assert reply.payload == answer
    assert reply.error_code == ""
    if outcome is None:
        yes = answer.get("status", "Accepted") in _YES
        outcome = CommandOutcome.ACCEPTED if yes else CommandOutcome.REJECTED
    assert reply.outcome is outcome


async def command_refused(site: Site, station: Station, action: str, payload: Json, code: str) -> None:
    """The station answers a command with CALLERROR."""
    station.answers(action, code)
    reply = await site.gateway.request(site.station_id, action, payload, REPLY_WITHIN_S)
    assert station.asked[-1] == (action, payload)
    assert (reply.outcome, reply.payload, reply.error_code) == (CommandOutcome.REJECTED, None, code)


async def order(
    site: Site, station: Station, kind: CommandKind, action: str, answer: Json, **changes: Any
) -> tuple[CommandReply, Json]:
    """One command of the charging stop (start, stop, unlock); the reply, and what the station was asked."""
    station.answers(action, answer)
    reply = await site.gateway.send(site.command(kind, **changes))
    assert station.asked[-1][0] == action
    return reply, station.asked[-1][1]


async def settle(site: Site, **settings: Any) -> None:
    """What an operator has decided about the station; counts from its next connection on."""
    async with site.store.tenant(site.tenant_id) as unit:
        await unit.stations.put(StationSettings(station_id=site.station_id, **settings), None)


async def old_attempt(site: Site, hours: float) -> None:
    """An attempt of TAG1 at connector 1 that was open so many hours ago."""
    then = datetime.now(UTC) - timedelta(hours=hours)
    stop_id = f"stop_{uuid.uuid4().hex}"
    attempt = Attempt(
        attempt_id=attempt_id_for(stop_id, 1),
        number=1,
        charger_id=site.charger().charger_id,
        site_id="site",
        operator="Op",
        protocol="ocpp",
        opened_at=then,
    )
    intent = AttemptIntent(
        stop_id=stop_id,
        attempt=attempt,
        vehicle_id=f"van-{uuid.uuid4().hex[:6]}",
        station_id=site.station_id,
        connector_number=1,
        evse_uid="",
        token_uid="TAG1",
        remote_start_id=remote_start_id_for(attempt.attempt_id),
        window_ends_at=then + timedelta(minutes=30),
    )
    async with site.store.tenant(site.tenant_id) as unit:
        await unit.attempts.open(intent)


async def connector_status(site: Site, number: int = 1) -> str:
    """What planning knows of a connector."""
    async with site.store.tenant(site.tenant_id) as unit:
        charger = await unit.chargers.get(site.charger(number).charger_id)
    assert charger is not None
    return str(charger.status)


# --- cases as tables ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ask:
    """The CSMS sends a command, the station answers."""

    action: str
    payload: Json
    answer: Json


@dataclass(frozen=True)
class Say:
    """The station calls; the reply must be exactly `reply`."""

    action: str
    payload: Json
    reply: Json = field(default_factory=dict)


async def play(site: Site, station: Station, *steps: Ask | Say) -> None:
    for step in steps:
        if isinstance(step, Ask):
            await command(site, station, step.action, step.payload, step.answer)
        else:
            assert await station.call(step.action, step.payload) == step.reply, step.action
