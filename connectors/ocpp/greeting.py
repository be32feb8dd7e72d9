"""What a gateway asks of a station that has just connected."""

from __future__ import annotations

import asyncio

from connectors.ocpp.connection import Connection
from connectors.ocpp.v2x import requests as requests_2x
from connectors.ocpp.v16 import requests as requests_16
from connectors.ocpp.wire.rpc import CallError, NoReply, NotSent, Priority
from connectors.ocpp.wire.schemas import Json

_BOOT_WAIT_S = 3.0
_CALL_S = 10.0


async def greet(connection: Connection) -> None:
    """A reconnect without Boot is what the specification wants: then we ask how the connectors stand. A 2.x
    station is asked after its open transactions either way: one that it does not know has lost its end."""
    session = connection.session
    if not session.may_speak:
        return
    try:
        if not await _boots(connection):
            make = requests_16.trigger_status if connection.is_16 else requests_2x.trigger_status
            for number in sorted(session.station.connectors):
                await _ask(connection, *make(number))
        if connection.is_16:
            return
        for number, known in list((await session.open_transactions()).items()):
            reference = known.facts.transaction_ref
            if reference is None:
                continue
            reply = await _ask(connection, *requests_2x.transaction_status(reference))
            mine = (await session.open_transactions()).get(number)  # its end may have come meanwhile
            if mine is not None and _has_no_more(reply):
                await session.end_lost(mine)
    except (NotSent, NoReply):
        return


async def _boots(connection: Connection) -> bool:
    booted = connection.session.booted = asyncio.Event()
    try:
        async with asyncio.timeout(_BOOT_WAIT_S):
            await booted.wait()
        return True
    except TimeoutError:
        connection.session.booted = None
        return False


async def _ask(connection: Connection, action: str, payload: Json) -> Json:
    """Nothing, where the station refuses to say. Raises NotSent, NoReply."""
    try:
        return await connection.rpc.call(action, payload, _CALL_S, Priority.HOUSEKEEPING)
    except CallError:
        return {}


def _has_no_more(reply: Json) -> bool:
    """GetTransactionStatus (E14): it does not go on, and no message of it waits to be sent."""
    return reply.get("ongoingIndicator") is False and reply.get("messagesInQueue") is False
