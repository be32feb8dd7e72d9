"""What this connector needs from the outside: its partners, their objects, and whom a session belongs to.
Wired in workers/."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from pydantic import SecretStr, field_serializer

from models.base import Message, UtcDatetime
from models.commands import CommandKind


class LinkState(StrEnum):
    """Where the credentials handshake stands (section 7)."""

    INVITED = "invited"
    """We gave a TOKEN_A; the partner registers with us."""
    REGISTERING = "registering"
    """Our POST is in flight: the partner may already call with TOKEN_B, for versions and credentials."""
    REGISTERED = "registered"
    UNREGISTERED = "unregistered"


class PartyRole(Message):
    country_code: str
    party_id: str
    role: str = "CPO"


class ModuleUrl(Message):
    identifier: str
    role: str
    url: str


class PartnerLink(Message):
    """One roaming partner of one tenant: this row, never a payload, says whose a request is."""

    partner_id: str
    tenant_id: str
    state: LinkState
    token_ours_hash: str
    """SHA-256 of the token that the partner presents to us."""
    token_theirs: SecretStr = SecretStr("")
    """The token that we present to the partner."""
    raw_token: bool = False
    versions_url: str = ""
    endpoints: tuple[ModuleUrl, ...] = ()
    roles: tuple[PartyRole, ...] = ()
    name: str = ""
    our_country_code: str
    our_party_id: str
    our_name: str
    extra_origins: tuple[str, ...] = ()
    """Further origins (scheme://host:port) that our token may be sent to."""

    @field_serializer("token_theirs", when_used="json")
    def _reveal(self, value: SecretStr) -> str:
        return value.get_secret_value()  # JSON is how the row is stored; repr and logs stay masked

    def url_of(self, module: str, role: str) -> str | None:
        """The partner's URL of a module in a role (SENDER or RECEIVER), or None."""
        for endpoint in self.endpoints:
            if endpoint.identifier == module and endpoint.role.upper() == role:
                return endpoint.url.rstrip("/")
        return None

    def speaks_for(self, country_code: str, party_id: str) -> bool:
        """Whether the party is one of the partner's roles (compared without case)."""
        wanted = (country_code.casefold(), party_id.casefold())
        return any((r.country_code.casefold(), r.party_id.casefold()) == wanted for r in self.roles)


class ChargerAddress(Message):
    """Where a charger of ours lives at a partner, in the partner's own spelling."""

    partner_id: str
    country_code: str
    party_id: str
    location_id: str
    evse_uid: str
    connector_id: str


class SentCommand(Message):
    """For whom a command was sent; found again by the unguessable id in its response URL."""

    command_id: str
    kind: CommandKind
    stop_id: str
    attempt_id: str
    charger_id: str
    sent_at: UtcDatetime


class AttemptOwner(Message):
    attempt_id: str
    stop_id: str


class StoredObject(Message):
    body: dict[str, Any]
    last_updated: UtcDatetime | None = None


class PartnerUnit(Protocol):
    """One transaction over one partner's objects."""

    async def lock(self, name: str) -> None:
        """Held until the transaction ends; serialises writers of one object."""
        ...

    async def get(self, kind: str, object_id: str) -> StoredObject | None: ...

    async def put(
        self, kind: str, object_id: str, body: dict[str, Any], last_updated: datetime | None = None
    ) -> None: ...

    async def all(self, kind: str) -> list[StoredObject]: ...

    async def set_aside(self, reason: str, raw: bytes, detail: str) -> None:
        """Quarantine within this transaction."""
        ...

    async def put_address(self, charger_id: str, address: ChargerAddress) -> None: ...

    async def owner_by_reference(self, attempt_id: str) -> AttemptOwner | None: ...

    async def owner_by_start(
        self, location_id: str, evse_uid: str, token_uid: str, at: datetime
    ) -> AttemptOwner | None: ...

    async def owner_by_session(self, session_ref: str, location_id: str) -> AttemptOwner | None: ...


class RoamingStore(Protocol):
    """Partners, and transactions over their objects. Durable: what was committed survives any process."""

    async def by_token_hash(self, token_hash: str) -> PartnerLink | None: ...

    async def link(self, tenant_id: str, partner_id: str) -> PartnerLink | None: ...

    async def links(self, tenant_id: str) -> list[PartnerLink]: ...

    async def save(self, link: PartnerLink) -> None: ...

    def unit(self, link: PartnerLink) -> AbstractAsyncContextManager[PartnerUnit]: ...

    async def address(self, tenant_id: str, charger_id: str) -> ChargerAddress | None:
        """The partner's own address of a charger that came from its locations."""
        ...
