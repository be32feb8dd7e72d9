"""Credentials handshake in both directions (OCPI 2.2.1, section 7.1)."""

from __future__ import annotations

import hashlib
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
from pydantic import SecretStr, ValidationError

from connectors.ocpi.client import OcpiClient, OcpiError, origin_of
from connectors.ocpi.objects import Credentials, Version, VersionDetails
from connectors.ocpi.ports import LinkState, ModuleUrl, PartnerLink, PartyRole, RoamingStore
from connectors.ocpi.tokens import new_token, token_hash
from connectors.ocpi.wire import as_list
from models.base import Message

VERSION: Final = "2.2.1"


class HandshakeError(Exception):
    """The handshake failed; `status_code` is the OCPI code to answer with (3001, 3002 or 3003)."""

    def __init__(self, message: str, status_code: int = 3001) -> None:
        super().__init__(message)
        self.status_code = status_code


class OurParty(Message):
    """Who we are towards partners. `public_url`: how partners reach our API process."""

    country_code: str
    party_id: str
    name: str
    public_url: str

    @property
    def versions_url(self) -> str:
        return f"{self.public_url.rstrip('/')}/ocpi/versions"

    @property
    def base_url(self) -> str:
        return f"{self.public_url.rstrip('/')}/ocpi/{VERSION}"


def our_credentials(public_url: str, link: PartnerLink, token: str) -> dict[str, Any]:
    """The credentials object by which a partner reaches us."""
    return {
        "token": token,
        "url": f"{public_url.rstrip('/')}/ocpi/versions",
        "roles": [
            {
                "role": "EMSP",
                "business_details": {"name": link.our_name},
                "party_id": link.our_party_id,
                "country_code": link.our_country_code,
            }
        ],
    }


def partner_id_for(versions_url: str) -> str:
    """A stable id for a partner that is known by nothing but its address yet."""
    return "p-" + hashlib.sha256(versions_url.encode()).hexdigest()[:12]


def check_url(url: str, *, allow_plain_http: bool) -> None:
    """Raises HandshakeError for a URL that we do not call: a partner that we do not trust yet chose it."""
    try:
        origin_of(url)
    except ValueError as error:
        raise HandshakeError("versions URL is no HTTP URL") from error
    if urlsplit(url).scheme != "https" and not allow_plain_http:
        raise HandshakeError("versions URL is not https")


async def discover(http: httpx.AsyncClient, link: PartnerLink) -> tuple[ModuleUrl, ...]:
    """Versions, then the endpoints of 2.2.1. Raises HandshakeError, OcpiError or httpx.HTTPError."""
    client = OcpiClient(http, link)
    listed = as_list((await client.call("GET", link.versions_url, module="versions")).expect("versions"))
    try:
        versions = [Version.model_validate(item) for item in listed or []]
    except ValidationError as error:
        raise HandshakeError("versions are not readable") from error
    url = next((item.url for item in versions if item.version == VERSION), None)
    if url is None:
        raise HandshakeError(f"partner does not speak {VERSION}", 3002)
    data = (await client.call("GET", url, module="versions")).expect("version details")
    try:
        details = VersionDetails.model_validate(data)
    except ValidationError as error:
        raise HandshakeError("version details are not readable") from error
    endpoints = tuple(
        ModuleUrl(identifier=item.identifier, role=str(item.role), url=item.url) for item in details.endpoints
    )
    if not any(item.identifier == "credentials" for item in endpoints):
        raise HandshakeError("partner has no credentials endpoint", 3003)
    return endpoints


def _with_credentials(link: PartnerLink, credentials: Credentials) -> PartnerLink:
    roles = tuple(
        PartyRole(country_code=str(r.country_code), party_id=str(r.party_id), role=str(r.role))
        for r in credentials.roles
    )
    # The CPO role first: it is whom routing headers address.
    roles = tuple(sorted(roles, key=lambda role: role.role != "CPO"))
    names = [r.business_details.name for r in credentials.roles]
    return link.model_copy(
        update={
            "state": LinkState.REGISTERED,
            "token_theirs": SecretStr(credentials.token),
            "versions_url": credentials.url,
            "roles": roles,
            "name": names[0] if names else link.name,
        }
    )


async def register(
    http: httpx.AsyncClient,
    store: RoamingStore,
    us: OurParty,
    tenant_id: str,
    versions_url: str,
    token_a: str,
    *,
    partner_id: str | None = None,
) -> PartnerLink:
    """We register with a partner that gave us its TOKEN_A. Returns the registered link.

    Raises HandshakeError, OcpiError or httpx.HTTPError; the link is then left `registering`, and the call may
    be repeated."""
    token_b = new_token()
    link = PartnerLink(
        partner_id=partner_id or partner_id_for(versions_url),
        tenant_id=tenant_id,
        state=LinkState.REGISTERING,
        token_ours_hash=token_hash(token_b),
        token_theirs=SecretStr(token_a),
        versions_url=versions_url,
        our_country_code=us.country_code,
        our_party_id=us.party_id,
        our_name=us.name,
    )
    endpoints = await discover(http, link)
    link = link.model_copy(update={"endpoints": endpoints})
    # Committed before the POST: the partner calls our versions with TOKEN_B before it answers.
    await store.save(link)
    url = link.url_of("credentials", "RECEIVER") or link.url_of("credentials", "SENDER") or ""
    reply = await OcpiClient(http, link).call(
        "POST", url, module="credentials", body=our_credentials(us.public_url, link, token_b)
    )
    if reply.http_status == 405:
        raise HandshakeError("partner says we are registered already: ask it for a new TOKEN_A")
    try:
        credentials = Credentials.model_validate(reply.expect("credentials"))
    except ValidationError as error:
        # Without the cause: pydantic would print the response, and with it a token.
        raise HandshakeError(f"credentials are not readable ({error.error_count()} faults)") from None
    link = _with_credentials(link, credentials)
    await store.save(link)
    return link


async def register_partner(
    http: httpx.AsyncClient,
    store: RoamingStore,
    us: OurParty,
    tenant_id: str,
    versions_url: str,
    token_a: str,
    *,
    partner_id: str | None = None,
) -> PartnerLink:
    """As `register`, and repeatable: where the tokens of an earlier handshake still work, it keeps them."""
    known = await store.link(tenant_id, partner_id or partner_id_for(versions_url))
    if known is not None and known.state is LinkState.REGISTERED:
        try:
            endpoints = await discover(http, known)
        except (HandshakeError, OcpiError, httpx.HTTPError):
            pass
        else:
            known = known.model_copy(update={"endpoints": endpoints})
            await store.save(known)
            return known
    return await register(http, store, us, tenant_id, versions_url, token_a, partner_id=partner_id)


async def invite(store: RoamingStore, us: OurParty, tenant_id: str, partner_id: str) -> str:
    """Prepares the other direction: returns the TOKEN_A to give to the partner, shown once."""
    token_a = new_token()
    await store.save(
        PartnerLink(
            partner_id=partner_id,
            tenant_id=tenant_id,
            state=LinkState.INVITED,
            token_ours_hash=token_hash(token_a),
            our_country_code=us.country_code,
            our_party_id=us.party_id,
            our_name=us.name,
        )
    )
    return token_a


async def accept_registration(
    http: httpx.AsyncClient,
    store: RoamingStore,
    link: PartnerLink,
    credentials: Credentials,
    *,
    allow_plain_http: bool,
) -> tuple[PartnerLink, str]:
    """The partner registers with us, or renews (POST and PUT). Calls its versions with the token it gave,
    then returns the link and the new token for it. Raises HandshakeError with the code to answer."""
    check_url(credentials.url, allow_plain_http=allow_plain_http)
    candidate = _with_credentials(link, credentials)
    try:
        endpoints = await discover(http, candidate)
    except (OcpiError, httpx.HTTPError) as error:
        raise HandshakeError("cannot call the versions URL") from error
    token_c = new_token()
    registered = candidate.model_copy(update={"endpoints": endpoints, "token_ours_hash": token_hash(token_c)})
    await store.save(registered)
    return registered, token_c


async def unregister(store: RoamingStore, link: PartnerLink) -> None:
    """DELETE credentials: the tokens die, business data stays (some hubs delete and register anew)."""
    await store.save(
        link.model_copy(
            update={
                "state": LinkState.UNREGISTERED,
                "token_ours_hash": token_hash(new_token()),
                "token_theirs": SecretStr(""),
            }
        )
    )
