"""State of the simulated roaming partner, and what it does by itself."""

from __future__ import annotations

import asyncio
import hmac
import os
import secrets
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx
from fastapi import HTTPException, Request

from simulators.roaming.config import HandshakeFailed, Peer, RoamingConfig, header, token_of
from simulators.roaming.evse import EvseTwin
from simulators.roaming.push import Courier, Delivery
from simulators.roaming.wire import evse_uid_of, location, stamp, tariff
from simulators.twin import Ledger, TwinLocation

_REGISTER_AGAIN_S: Final = 1.0


class Partner:
    """State of one partner process. `base_url`: how the peer reaches it."""

    def __init__(self, config: RoamingConfig, base_url: str) -> None:
        self.config = config
        self.base_url = base_url.rstrip("/")
        self.ledger = Ledger()
        self.closing = asyncio.Event()
        self.peer: Peer | None = None
        self.pending_token = ""
        self.objects: dict[str, dict[str, dict[str, Any]]] = {"sessions": {}, "cdrs": {}, "tokens": {}}
        self.courier = Courier(lambda: self.peer)
        self.since = stamp()
        self._relisted: dict[str, str] = {}
        self.evses: dict[str, EvseTwin] = {}
        for twin in config.locations:
            for connector in twin.connectors:
                made = EvseTwin(
                    config.party, twin, connector, config.pace, self.ledger, self.courier, self._keep
                )
                self.evses[evse_uid_of(twin, connector)] = made
        self.http = httpx.AsyncClient(timeout=10.0, trust_env=False)
        self._read_state()

    def _keep(self, kind: str, body: dict[str, Any]) -> None:
        self.objects[kind][str(body["id"])] = body

    def locations(self) -> list[dict[str, Any]]:
        """The locations as they stand; one whose EVSEs have all vanished is not listed."""
        return [self.location(twin) for twin in self.config.locations if self._listed(twin)]

    def location(self, twin: TwinLocation) -> dict[str, Any]:
        since = self._relisted.get(twin.location_id, self.since)
        return location(self.config.party, twin, [evse.wire() for evse in self._listed(twin)], since)

    def _listed(self, twin: TwinLocation) -> list[EvseTwin]:
        evses = (self.evses[evse_uid_of(twin, connector)] for connector in twin.connectors)
        return [evse for evse in evses if not evse.gone]

    def vanish(self, charger_id: str, gone: bool) -> None:
        """The EVSE is left out of its location, or listed again; the whole location is pushed."""
        evse = self.by_charger(charger_id)
        evse.gone = gone
        self._relisted[evse.location.location_id] = stamp()
        whole = self.location(evse.location)
        path = f"{whole['country_code']}/{whole['party_id']}/{whole['id']}"
        self.courier.send(evse.uid, Delivery("PUT", "locations", path, whole))

    def tariffs(self) -> list[dict[str, Any]]:
        return [tariff(self.config.party, twin, self.since) for twin in self.config.locations]

    def by_charger(self, charger_id: str) -> EvseTwin:
        for twin in self.evses.values():
            if twin.charger_id == charger_id:
                return twin
        raise HTTPException(404)

    def session_owner(self, session_id: str) -> EvseTwin | None:
        for twin in self.evses.values():
            if twin.session is not None and twin.session.body["id"] == session_id:
                return twin
        return None

    # --- tokens and handshake --------------------------------------------------------------------------

    def admit(self, request: Request, *, registration: bool = False) -> None:
        """`registration`: TOKEN_A opens versions and credentials, as long as its successor is unused."""
        token = token_of(request.headers.get("authorization"))
        peer = self.peer
        if peer is not None and hmac.compare_digest(token.encode(), peer.token_in.encode()):
            if not peer.confirmed:
                self.peer = peer.model_copy(update={"confirmed": True})
                self._write_state()
            return
        first = [self.config.token_a] if peer is None or not peer.confirmed else []
        if registration and token and token in (*first, self.pending_token):
            return
        raise HTTPException(401)

    def credentials(self, token: str) -> dict[str, Any]:
        party = self.config.party
        return {
            "token": token,
            "url": f"{self.base_url}/ocpi/versions",
            "roles": [
                {
                    "role": "CPO",
                    "business_details": {"name": party.name},
                    "party_id": party.party_id,
                    "country_code": party.country_code,
                }
            ],
        }

    async def discover(self, versions_url: str, token: str) -> dict[str, str]:
        """The peer's endpoints by module. Raises HandshakeFailed."""
        try:
            versions = (await self.http.get(versions_url, headers=header(token))).json()["data"]
            url = next(item["url"] for item in versions if item["version"] == "2.2.1")
            details = (await self.http.get(url, headers=header(token))).json()["data"]
            return {item["identifier"]: item["url"].rstrip("/") for item in details["endpoints"]}
        except (httpx.HTTPError, ValueError, KeyError, TypeError, StopIteration) as error:
            raise HandshakeFailed(type(error).__name__) from error

    async def take_credentials(self, body: dict[str, Any]) -> dict[str, Any]:
        """The eMSP registers, or renews. Calls its versions with its token before answering."""
        endpoints = await self.discover(body["url"], body["token"])
        token = self.config.token_c or secrets.token_urlsafe(24)
        role = body["roles"][0]
        self.peer = Peer(
            token_in=token,
            token_out=body["token"],
            versions_url=body["url"],
            endpoints=endpoints,
            country_code=role["country_code"],
            party_id=role["party_id"],
        )
        self._write_state()
        return self.credentials(token)

    def forget_peer(self) -> None:
        self.peer = None
        if self.config.state_path:
            self.config.state_path.unlink(missing_ok=True)

    async def register(self) -> None:
        """This side registers with the eMSP, and tries again until it is done."""
        while self.peer is None:
            self.pending_token = secrets.token_urlsafe(24)
            try:
                endpoints = await self.discover(self.config.emsp_versions_url, self.config.emsp_token_a)
                response = await self.http.post(
                    endpoints["credentials"],
                    json=self.credentials(self.pending_token),
                    headers=header(self.config.emsp_token_a),
                )
                answer = response.json()["data"]
                self.peer = Peer(
                    token_in=self.pending_token,
                    token_out=answer["token"],
                    versions_url=answer["url"],
                    endpoints=endpoints,
                    confirmed=True,
                )
                self._write_state()
            except (HandshakeFailed, httpx.HTTPError, KeyError, ValueError):
                await asyncio.sleep(_REGISTER_AGAIN_S)

    def _read_state(self) -> None:
        path = self.config.state_path
        if path is not None and path.exists():
            self.peer = Peer.model_validate_json(path.read_bytes())

    def _write_state(self) -> None:
        path = self.config.state_path
        if path is not None and self.peer is not None:
            draft = path.with_suffix(".draft")
            draft.write_text(self.peer.model_dump_json())
            os.chmod(draft, 0o600)  # it holds tokens
            draft.replace(path)

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Registers where configured, and ends all tasks on exit."""
        task = asyncio.create_task(self.register()) if self.config.emsp_versions_url else None
        try:
            yield
        finally:
            self.closing.set()
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            for twin in self.evses.values():
                await twin.close()
            await self.courier.close()
            await self.http.aclose()
