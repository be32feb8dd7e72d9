"""Handshake in both directions, tokens, tenants, and the pull of locations, over real sockets."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from fastapi import FastAPI

from connectors.ocpi.client import ForeignOrigin, OcpiClient
from connectors.ocpi.handshake import HandshakeError, invite, register
from connectors.ocpi.ports import LinkState
from connectors.ocpi.pull import pull_locations
from connectors.ocpi.wire import Instant
from models.charger import ConnectorStatus, Protocol
from models.ids import TenantId
from simulators.roaming.config import RoamingConfig, header
from simulators.roaming_partner import build_app
from store.database import Store
from tests.ocpi.world import TOKEN_A, locations, serving, until, world

pytestmark = pytest.mark.asyncio


async def test_we_register_and_both_tokens_work(store: Store) -> None:
    async with world(store) as w:
        link = await w.register()
        assert (link.state, link.name) == (LinkState.REGISTERED, "Roaming Box")
        assert link.speaks_for("de", "rbx")
        assert w.partner.peer is not None
        ours = await w.http.get(f"{w.us.base_url}", headers=header(w.partner.peer.token_out))
        assert {e["identifier"] for e in ours.json()["data"]["endpoints"]} >= {"sessions", "cdrs", "commands"}
        again = await w.register()  # keeps the tokens that still work
        assert again.token_ours_hash == link.token_ours_hash
        stale = await w.http.get(f"{w.partner_url}/ocpi/versions", headers=header(TOKEN_A))
        assert stale.status_code == 401
        assert link.token_theirs.get_secret_value() not in repr(link)


async def test_the_partner_registers_with_us_renews_and_leaves(store: Store) -> None:
    async with world(store) as w:
        token_a = await invite(w.roaming, w.us, w.tenant_id, "inviter")
        config = RoamingConfig(
            emsp_versions_url=w.us.versions_url, emsp_token_a=token_a, locations=locations(1)
        )
        async with serving(lambda url: build_app(config, url)) as (url, app):
            partner = app.state.partner
            await until(lambda: partner.peer is not None)
            link = await w.roaming.link(w.tenant_id, "inviter")
            assert link is not None
            assert link.state is LinkState.REGISTERED
            assert (await pull_locations(w.http, w.intake, link)).taken == 1
            mine = header(partner.peer.token_out)
            credentials = f"{w.us.base_url}/credentials"
            assert (await w.http.post(credentials, headers=mine, json={})).status_code == 405
            shown = (await w.http.get(credentials, headers=mine)).json()["data"]
            assert shown["token"] == partner.peer.token_out
            renewal = await w.http.put(credentials, headers=mine, json=partner.credentials("token-b-2"))
            assert renewal.json()["status_code"] == 3001  # our call back with an unknown token is refused
            assert (await w.http.delete(credentials, headers=mine)).json()["status_code"] == 1000
            assert (await w.http.get(credentials, headers=mine)).status_code == 401
            assert url


async def test_a_token_opens_its_own_tenant_only_and_no_module_before_the_handshake(store: Store) -> None:
    async with world(store) as w, world(store) as other:
        await w.register()
        await other.register()
        assert w.partner.peer is not None
        assert other.partner.peer is not None
        path = f"{w.us.base_url}/locations/DE/RBX/LOC1"
        assert (await w.http.get(path)).status_code == 401
        assert (await w.http.get(path, headers=header("guess"))).status_code == 401
        # The other tenant's partner reaches its own tenant's data, through whatever process.
        theirs = header(other.partner.peer.token_out)
        body = (await w.http.get(path, headers=theirs)).json()["data"]
        soon = str(Instant.of(datetime.now(UTC) + timedelta(hours=1)))
        changed = body | {"name": "renamed", "last_updated": soon}
        assert (await w.http.put(path, headers=theirs, json=changed)).json()["status_code"] == 1000
        mine = header(w.partner.peer.token_out)
        assert (await w.http.get(path, headers=mine)).json()["data"]["name"] == "Ladepark 1"
        token_a = await invite(w.roaming, w.us, w.tenant_id, "early")
        assert (await w.http.get(w.us.versions_url, headers=header(token_a))).status_code == 200
        assert (await w.http.get(path, headers=header(token_a))).status_code == 401


async def test_tokens_are_read_raw_encoded_and_with_a_line_break(store: Store) -> None:
    async with world(store) as w:
        await w.register()
        assert w.partner.peer is not None
        token = w.partner.peer.token_out
        for value in (
            token,
            base64.b64encode(token.encode()).decode(),
            base64.b64encode(f"{token}\n".encode()).decode(),
        ):
            reply = await w.http.get(
                w.us.versions_url, headers={"authorization": f"Token {value}", "x-request-id": "r-1"}
            )
            assert (reply.status_code, reply.headers["x-request-id"]) == (200, "r-1")
        for value in ("", "Token", "Bearer x", "Token " + "x" * 600, "Token ====", "Token \xff"):
            raw = {"authorization": value.encode("latin-1")}
            assert (await w.http.get(w.us.versions_url, headers=raw)).status_code == 401  # type: ignore[arg-type]


async def test_locations_come_in_pages_and_become_chargers(store: Store) -> None:
    async with world(store, count=7, page_limit=3) as w:
        link = await w.register()
        charger = await w.charger(7)
        assert (charger.protocol, charger.station_id, charger.evse_uid) == (Protocol.OCPI, "LOC7", "E7")
        assert (charger.status, charger.power_kw, charger.network) == (
            ConnectorStatus.AVAILABLE,
            50.0,
            "Roaming Box",
        )
        assert charger.tariff is not None
        assert str(charger.tariff.energy_per_kwh) == "0.5"
        # What the partner lists no more is planned no more; what cannot be read is kept, and the rest comes.
        w.partner.config = w.partner.config.model_copy(update={"locations": w.partner.config.locations[1:]})
        healthy = w.partner.locations

        def with_oddities() -> list[dict[str, object]]:
            broken = healthy()[0] | {"id": "BROKEN", "coordinates": None}
            foreign = healthy()[0] | {"id": "FOREIGN", "party_id": "XXX"}
            nul = healthy()[0] | {"id": "NUL", "name": "a\u0000b"}
            odd = healthy()[0] | {"id": "ODD", "parking_type": "ON_MARS", "extra": {"kept": True}}
            return [broken, foreign, nul, odd, *healthy()]

        w.partner.locations = with_oddities  # type: ignore[method-assign]
        report = await pull_locations(w.http, w.intake, link)
        assert (report.taken, report.set_aside, report.withdrawn) == (7, 3, 1)
        assert not (await w.charger(1)).plannable
        assert (await w.charger(2)).plannable
        assert sorted(await w.set_aside()) == ["foreign_party", "location_unreadable", "nul_character"]


async def test_our_token_stays_with_the_partner(store: Store) -> None:
    async with world(store) as w:
        link = await w.register()
        with pytest.raises(ForeignOrigin):
            await OcpiClient(w.http, link).call("GET", "http://127.0.0.1:1/ocpi", module="locations")
        asked: list[str] = []
        elsewhere = FastAPI()

        @elsewhere.get("/steal")
        async def steal() -> dict[str, int]:
            asked.append("asked")
            return {"status_code": 1000}

        async with serving(lambda url: elsewhere) as (url, _):
            leading_away = FastAPI()

            @leading_away.get("/locations")
            async def page() -> object:
                from fastapi.responses import JSONResponse

                return JSONResponse(
                    {"status_code": 1000, "data": []}, headers={"link": f'<{url}/steal>; rel="next"'}
                )

            async with serving(lambda own: leading_away) as (own, _):
                bent = link.model_copy(update={"versions_url": f"{own}/versions"})
                with pytest.raises(ForeignOrigin):
                    async for _page in OcpiClient(w.http, bent).pages(f"{own}/locations", module="locations"):
                        pass
        assert asked == []


async def test_a_handshake_that_fails_says_why_and_may_be_repeated(store: Store) -> None:
    async with world(store) as w:
        old = FastAPI()

        @old.get("/ocpi/versions")
        async def versions() -> dict[str, object]:
            return {"status_code": 1000, "data": [{"version": "2.1.1", "url": "http://127.0.0.1:1/"}]}

        async with serving(lambda url: old) as (url, _):
            with pytest.raises(HandshakeError, match="does not speak"):
                await register(w.http, w.roaming, w.us, w.tenant_id, f"{url}/ocpi/versions", "a")
        with pytest.raises(httpx.ConnectError):
            await register(w.http, w.roaming, w.us, w.tenant_id, "http://127.0.0.1:1/ocpi/versions", "a")
        assert (await w.register()).state is LinkState.REGISTERED
        async with store.tenant(TenantId(w.tenant_id)) as unit:
            assert len(await unit.partners.list()) == 1
