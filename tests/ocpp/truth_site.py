"""What the store holds of a station's transactions, for the tests of the truth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import text

from connectors.ocpp.wire.schemas import Json
from models.ids import remote_start_id_for
from store.journal import JournalEvent
from store.sessions import Transaction
from tests.ocpp.conftest import Client, Site

V16, V201, V21 = "ocpp1.6", "ocpp2.0.1", "ocpp2.1"
V2 = (V201, V21)
ENERGY = "Energy.Active.Import.Register"
BEGAN = datetime(2026, 3, 2, 6, 0, tzinfo=UTC)
"""Of the sessions whose story is told afterwards, as after an outage."""


def minute(number: float) -> str:
    return (BEGAN + timedelta(minutes=number)).isoformat().replace("+00:00", "Z")


def from_now(seconds: float = 0) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


async def rows(site: Site) -> list[Transaction]:
    """All transactions of the station, in the order of their ids."""
    async with site.store.tenant(site.tenant_id) as unit:
        numbers = await unit.connection.execute(
            text("SELECT transaction_id FROM ocpp_transaction WHERE station_id = :s ORDER BY 1"),
            {"s": site.station_id},
        )
        found = [await unit.sessions.find(site.station_id, transaction_id=n) for n in numbers.scalars().all()]
    return [row for row in found if row is not None]


async def row(site: Site, number: int | None = None) -> Transaction:
    """The one with this id, or the only one there is."""
    found = [one for one in await rows(site) if number in (None, one.transaction_id)]
    assert len(found) == 1, found
    return found[0]


async def journal(site: Site, number: int) -> list[JournalEvent]:
    async with site.store.tenant(site.tenant_id) as unit:
        return await unit.journal.of_transaction(number)


async def kept_aside(site: Site) -> list[str]:
    """Reasons in quarantine, in order."""
    async with site.store.tenant(site.tenant_id) as unit:
        items = await unit.quarantine.list(100)
    return [item.reason for item in sorted(items, key=lambda item: item.position)]


def findings(transaction: Transaction) -> set[str]:
    return set(transaction.findings.split())


def told(transaction: Transaction) -> tuple[float | None, set[str]]:
    """Energy in Wh and findings of an ended transaction."""
    assert transaction.ended_at is not None
    return transaction.energy_wh, findings(transaction)


@contextmanager
def outage(site: Site, *methods: str) -> Generator[Counter[str]]:
    """The house is down for these methods; how often each was tried."""
    tries = Counter[str]()

    def failing(name: str) -> Callable[..., Awaitable[None]]:
        async def fail(*_: Any, **__: Any) -> None:
            tries[name] += 1
            raise OSError("the house is down")

        return fail

    house = site.gateway._house  # pyright: ignore[reportPrivateUsage]
    for name in methods:
        setattr(house, name, failing(name))
    try:
        yield tries
    finally:
        for name in methods:
            delattr(house, name)


# --- 1.6 ------------------------------------------------------------------------------------------------


async def start(
    client: Client, when: str, *, meter: Any = 100_000, tag: str = "TAG1", number: int = 1
) -> int:
    body = {"connectorId": number, "idTag": tag, "meterStart": meter, "timestamp": when}
    reply = await client.call("StartTransaction", body)
    assert reply["transactionId"] > 0
    return int(reply["transactionId"])


def sampled(when: str, value: object, **fields: Any) -> Json:
    return {"timestamp": when, "sampledValue": [{"value": str(value), **fields}]}


async def meter(client: Client, transaction: int, *values: Json, number: int = 1) -> None:
    body = {"connectorId": number, "transactionId": transaction, "meterValue": list(values)}
    assert await client.call("MeterValues", body) == {}


async def stop(client: Client, transaction: int, when: str, meter_wh: Any, **fields: Any) -> Json:
    body = {"transactionId": transaction, "meterStop": meter_wh, "timestamp": when, **fields}
    return await client.call("StopTransaction", body)


# --- 2.x ------------------------------------------------------------------------------------------------


def event(
    kind: str, reference: str, sequence: int, when: str, wh: float | None = None, **changes: Any
) -> Json:
    """A TransactionEvent; `wh`: one sample of the register at its time."""
    triggers = {"Started": "RemoteStart", "Ended": "EVDeparted"}
    body: Json = {
        "eventType": kind,
        "timestamp": when,
        "triggerReason": triggers.get(kind, "MeterValuePeriodic"),
        "seqNo": sequence,
        "transactionInfo": {"transactionId": reference, **changes.pop("info", {})},
    }
    if kind == "Started":
        body["evse"] = {"id": 1, "connectorId": 1}
    if wh is not None:
        body["meterValue"] = [reading_2x(when, wh)]
    return {**body, **changes}


def reading_2x(when: str, wh: float) -> Json:
    sample = {"value": wh, "measurand": ENERGY, "unitOfMeasure": {"unit": "Wh"}}
    return {"timestamp": when, "sampledValue": [sample]}


def remotely(attempt_id: str) -> Json:
    return {"remoteStartId": remote_start_id_for(attempt_id)}


async def says(client: Client, *events: Json) -> None:
    for one in events:
        await client.call("TransactionEvent", one)
