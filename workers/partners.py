"""Wiring of the outside worlds that speak HTTP: roaming partners (OCPI) and vehicles (telematics)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
from fastapi import APIRouter
from rich.console import Console

from connectors.enode.client import EnodeClients
from connectors.enode.client import http_client as telematics_http
from connectors.enode.commands import EnodeCommandPort
from connectors.enode.connections import ConfiguredConnections
from connectors.enode.ingest import Ingest
from connectors.enode.ports import EnodeConnection
from connectors.enode.vehicle_state import EnodeResync, GapWatch
from connectors.enode.webhook import build_webhook
from connectors.ocpi.client import http_client as roaming_http
from connectors.ocpi.commands import OcpiCommandPort
from connectors.ocpi.handshake import OurParty, register_partner
from connectors.ocpi.intake import Intake
from connectors.ocpi.pull import pull_locations
from connectors.ocpi.receiver import build_receiver
from workers.bootstrap import House, open_house
from workers.enode_store import StoreTelematics
from workers.ocpi_store import StoreCatalogue, StoreQuarantine, StoreRoaming
from workers.settings import Settings


@dataclass
class Roaming:
    """The roaming connector of one process. `receiver` is served by the API process only."""

    commands: OcpiCommandPort
    store: StoreRoaming
    intake: Intake
    http: httpx.AsyncClient
    receiver: APIRouter


@dataclass
class Telematics:
    commands: EnodeCommandPort
    webhook: APIRouter
    resync: EnodeResync


@asynccontextmanager
async def open_roaming(house: House) -> AsyncGenerator[Roaming, None]:
    http = roaming_http()
    store = StoreRoaming(house.store)
    quarantine, catalogue = StoreQuarantine(house.store), StoreCatalogue(house.store)
    intake = Intake(store, house.relay, catalogue, quarantine)
    public_url = house.settings.public_url
    plain = house.settings.environment == "dev"
    try:
        yield Roaming(
            commands=OcpiCommandPort(store, http, public_url),
            store=store,
            intake=intake,
            http=http,
            receiver=build_receiver(intake, http, public_url, allow_plain_http=plain),
        )
    finally:
        await http.aclose()


@asynccontextmanager
async def open_telematics(house: House) -> AsyncGenerator[Telematics, None]:
    http = telematics_http()
    connections = ConfiguredConnections(_connections(house.settings))
    clients = EnodeClients(http)
    log = StoreTelematics(house.store, on_evidence=house.relay.wake)
    ingest, gaps = Ingest(log), GapWatch()
    try:
        yield Telematics(
            commands=EnodeCommandPort(connections, clients, log),
            webhook=build_webhook(connections, ingest, gaps),
            resync=EnodeResync(connections, clients, ingest, gaps),
        )
    finally:
        await http.aclose()


def _connections(settings: Settings) -> list[EnodeConnection]:
    """Raises ValidationError where the file says something else than connections."""
    if settings.enode_config is None:
        return []
    items = json.loads(settings.enode_config.read_text())
    return [EnodeConnection.model_validate(item) for item in items]


def our_party(settings: Settings) -> OurParty:
    return OurParty(
        country_code=settings.ocpi_country_code,
        party_id=settings.ocpi_party_id,
        name=settings.ocpi_name,
        public_url=settings.public_url,
    )


async def register_main(settings: Settings, tenant_id: str, versions_url: str, token_a: str) -> int:
    """`backstop partners register`: handshake, then a full pull of locations."""
    async with open_house(settings, "register") as house, open_roaming(house) as roaming:
        link = await register_partner(
            roaming.http, roaming.store, our_party(settings), tenant_id, versions_url, token_a
        )
        async with asyncio.timeout(600):
            report = await pull_locations(roaming.http, roaming.intake, link)
        Console().print(f"{link.partner_id}: registered; {report}")
    return 0
