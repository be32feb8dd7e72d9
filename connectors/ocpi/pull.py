"""Pulls from partners: tariffs and locations in full, sessions and charge records as a delta."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import httpx
import orjson

from connectors.ocpi.client import OcpiClient
from connectors.ocpi.exchange import holds_nul
from connectors.ocpi.intake import LOCATION, Intake, Unreadable, object_key
from connectors.ocpi.ports import PartnerLink
from connectors.ocpi.wire import Instant, as_object
from models.base import Message


class PullReport(Message):
    """What a pull brought. `set_aside` objects are in quarantine; the rest of their page was taken."""

    taken: int = 0
    set_aside: int = 0
    withdrawn: int = 0


async def pull_locations(http: httpx.AsyncClient, intake: Intake, link: PartnerLink) -> PullReport:
    """Tariffs, then all locations. A full list is the new truth: chargers of locations that it lacks are
    no longer planned. Raises OcpiError or httpx.HTTPError; what came before that stays."""
    await _pull(http, intake, link, "tariffs", {}, intake.take_tariff)
    seen: set[str] = set()

    async def take(link: PartnerLink, body: dict[str, Any]) -> None:
        seen.add(_key(body))
        await intake.take_location(link, body)

    report = await _pull(http, intake, link, "locations", {}, take)
    async with intake.store.unit(link) as unit:
        stored = await unit.all(LOCATION)
    gone = [item.body for item in stored if _key(item.body) not in seen]
    for body in gone:
        await intake.withdraw_location(link, body)
    return report.model_copy(update={"withdrawn": len(gone)})


async def pull_sessions(
    http: httpx.AsyncClient, intake: Intake, link: PartnerLink, since: datetime
) -> PullReport:
    """Sessions that changed since (date_from is mandatory there). Raises as pull_locations."""
    return await _pull(
        http, intake, link, "sessions", {"date_from": str(Instant.of(since))}, intake.take_session
    )


async def pull_charge_records(
    http: httpx.AsyncClient, intake: Intake, link: PartnerLink, since: datetime
) -> PullReport:
    """Charge records that changed since. Raises as pull_locations."""
    return await _pull(
        http, intake, link, "cdrs", {"date_from": str(Instant.of(since))}, intake.take_charge_record
    )


def _key(body: dict[str, Any]) -> str:
    return object_key(str(body.get("country_code")), str(body.get("party_id")), str(body.get("id")))


async def _pull(
    http: httpx.AsyncClient,
    intake: Intake,
    link: PartnerLink,
    module: str,
    query: dict[str, str],
    take: Callable[[PartnerLink, dict[str, Any]], Awaitable[object]],
) -> PullReport:
    url = link.url_of(module, "SENDER")
    taken = set_aside = 0
    if url is None:
        return PullReport()
    client = OcpiClient(http, link)
    async for page in client.pages(url, module=module, query=query):
        for item in page:
            body = as_object(item)
            if body is None:
                await intake.set_aside(link, module, "no_object", item)
                set_aside += 1
                continue
            if holds_nul(orjson.dumps(item)):
                await intake.set_aside(link, module, "nul_character", item)
                set_aside += 1
                continue
            if not link.speaks_for(str(body.get("country_code")), str(body.get("party_id"))):
                await intake.set_aside(link, module, "foreign_party", body)
                set_aside += 1
                continue
            try:
                await take(link, body)
                taken += 1
            except Unreadable as error:
                await intake.set_aside(link, error.module, error.reason, error.body, str(error))
                set_aside += 1
    return PullReport(taken=taken, set_aside=set_aside)
