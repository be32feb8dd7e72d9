"""OCPP 1.6 and 2.0.1 CSMS cases of security (docs/ocpp-cases.md): TLS, client certificates, passwords,
security profiles. Both versions run the same test; the case ids say which is which."""

from __future__ import annotations

import asyncio
import base64
import ssl
import warnings
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from station_pki import NOW, OPERATOR, REFUSED, Pki, p256, private_pem, request, station_name
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from connectors.ocpp.door.certificates import StationAuthority
from connectors.ocpp.server import Gateway
from connectors.ocpp.wire.schemas import Json, Version
from models.commands import CommandOutcome
from tests.ocpp.case_station import Station, at, command, connected, settle
from tests.ocpp.conftest import PASSWORD, Client, Site
from workers.gateway.house import OcppHouse

V16, V201 = Version.V16, Version.V201
YES = {"status": "Accepted"}
CONNECTION = {
    "ocppVersion": "OCPP20",
    "ocppTransport": "JSON",
    "ocppCsmsUrl": "wss://example.org/ocpp",
    "messageTimeout": 30,
    "securityProfile": 2,
    "ocppInterface": "Wired0",
}
PASSWORD_VARIABLE = {"component": {"name": "SecurityCtrlr"}, "variable": {"name": "BasicAuthPassword"}}


def versions(case_16: str, case_201: str) -> pytest.MarkDecorator:
    both = [pytest.param(V16, id=case_16), pytest.param(V201, id=case_201)]
    return pytest.mark.parametrize("version", both)


async def knock(
    site: Site,
    version: Version,
    password: bytes | None = None,
    tls: ssl.SSLContext | None = None,
    port: int = 0,
) -> Client:
    """A connection with a password of any bytes, with or without TLS."""
    headers: dict[str, str] = {}
    if password is not None:
        token = base64.b64encode(site.station_id.encode() + b":" + password).decode()
        headers["Authorization"] = f"Basic {token}"
    url = f"{'wss' if tls else 'ws'}://127.0.0.1:{port or site.gateway.port}/ocpp/{site.station_id}"
    socket = await connect(
        url,
        ssl=tls,
        subprotocols=[Subprotocol(version)],
        additional_headers=headers,
        compression=None,
        proxy=None,
    )
    return Client(socket)


async def is_refused(
    site: Site,
    version: Version,
    password: bytes | None = None,
    tls: ssl.SSLContext | None = None,
    port: int = 0,
) -> bool:
    try:
        client = await knock(site, version, password, tls, port)
    except InvalidStatus as refused:
        return refused.response.status_code == 401
    await client.socket.close()
    return False


@asynccontextmanager
async def booted(
    site: Site,
    version: Version,
    password: bytes | None = None,
    tls: ssl.SSLContext | None = None,
    port: int = 0,
) -> AsyncGenerator[Station]:
    client = await knock(site, version, password, tls, port)
    async with connected(site, version, client=client) as station:
        yield station


# --- passwords --------------------------------------------------------------------------------------------


def offered(station: Station, version: Version) -> bytes:
    """The password that the station was told."""
    _, asked = station.asked[-1]
    if version is V16:
        assert asked["key"] == "AuthorizationKey"
        return bytes.fromhex(asked["value"])
    (one,) = asked["setVariableData"]
    assert {key: one[key] for key in PASSWORD_VARIABLE} == PASSWORD_VARIABLE
    return str(one["attributeValue"]).encode()


def answer_password(station: Station, version: Version, word: str) -> None:
    if version is V16:
        station.answers("ChangeConfiguration", {"status": word})
    else:
        station.answers(
            "SetVariables", {"setVariableResult": [{"attributeStatus": word, **PASSWORD_VARIABLE}]}
        )


@pytest.mark.asyncio
@versions("TC_073_CSMS", "TC_A_09_CSMS")
async def test_tc_new_password(site: Site, version: Version) -> None:
    async with connected(site, version) as station:
        answer_password(station, version, "Accepted")
        reply = await site.gateway.rotate_password(site.station_id, 5.0)
        assert reply.outcome is CommandOutcome.ACCEPTED
        new = offered(station, version)
    assert 16 <= len(new) <= 40
    assert await is_refused(site, version, PASSWORD.encode())
    async with booted(site, version, new):
        pass


@pytest.mark.asyncio
async def test_tc_a_10_csms_new_password_rejected(site: Site) -> None:
    async with connected(site, V201) as station:
        answer_password(station, V201, "Rejected")
        reply = await site.gateway.rotate_password(site.station_id, 5.0)
        assert reply.outcome is CommandOutcome.REJECTED
        new = offered(station, V201)
    assert await is_refused(site, V201, new)
    async with connected(site, V201):
        pass


# --- TLS --------------------------------------------------------------------------------------------------


@pytest_asyncio.fixture
async def site(site: Site, authority: StationAuthority) -> AsyncGenerator[Site]:
    """The same site behind a gateway that signs certificates."""
    house = OcppHouse(site.store, "backstop-ocpp-test", site.sink, operator=OPERATOR, authority=authority)
    gateway = Gateway(house, 0.0, transfer_hosts={"example.org"})
    await gateway.start("127.0.0.1", 0)
    yield replace(site, gateway=gateway)
    await gateway.stop()


@pytest.fixture
def pki(tmp_path: Path, authority: StationAuthority) -> Pki:
    return Pki(tmp_path, authority)


def with_certificate(pki: Pki, chain_pem: str, key: Any) -> ssl.SSLContext:
    made = pki.client()
    made.load_cert_chain(pki.write("new.pem", chain_pem.encode()), pki.write("new.key", private_pem(key)))
    return made


async def tls_port(site: Site, pki: Pki) -> int:
    return await site.gateway.start("127.0.0.1", 0, tls=pki.server(require_client=False))


@pytest.mark.asyncio
@versions("TC_086_CSMS", "TC_A_04_CSMS")
async def test_tc_server_certificate(site: Site, pki: Pki, version: Version) -> None:
    await settle(site, security_profile=2)
    port = await tls_port(site, pki)
    async with booted(site, version, PASSWORD.encode(), pki.client(), port):
        pass
    assert await is_refused(site, version, b"another-password-16", pki.client(), port)


@pytest.mark.asyncio
async def test_tc_a_06_csms_old_tls(site: Site, pki: Pki) -> None:
    await settle(site, security_profile=2)
    port = await tls_port(site, pki)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # deprecated, as they should be
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(REFUSED):
        await knock(site, V201, PASSWORD.encode(), old, port)


@pytest.mark.asyncio
@versions("TC_087_CSMS", "TC_A_07_CSMS")
async def test_tc_client_certificate(site: Site, pki: Pki, version: Version) -> None:
    await settle(site, security_profile=3)
    port = await tls_port(site, pki)
    mine, _ = pki.station(station_id=site.station_id, operator=OPERATOR)
    async with booted(site, version, None, mine, port):
        pass


@pytest.mark.asyncio
async def test_tc_a_08_csms_bad_client_certificate(site: Site, pki: Pki) -> None:
    """Of another CA, of another station, of another operator, run out, and none at all."""
    await settle(site, security_profile=3)
    port = await tls_port(site, pki)
    foreign, _ = pki.station(StationAuthority.create(OPERATOR, NOW), site.station_id, OPERATOR)
    old, _ = pki.station(station_id=site.station_id, operator=OPERATOR, at=NOW - timedelta(days=800))
    for context in (foreign, old):
        with pytest.raises(REFUSED):
            await knock(site, V201, None, context, port)
    other, _ = pki.station(station_id="CP-0002", operator=OPERATOR)
    assert await is_refused(site, V201, None, other, port)
    stranger, _ = pki.station(station_id=site.station_id, operator="Another Fleet")
    assert await is_refused(site, V201, None, stranger, port)
    assert await is_refused(site, V201, PASSWORD.encode(), pki.client(), port)


# --- security profiles ------------------------------------------------------------------------------------


@pytest.mark.asyncio
@versions("TC_083_CSMS", "TC_A_19_CSMS")
async def test_tc_higher_profile(site: Site, pki: Pki, version: Version) -> None:
    """The station is told, the operator settles it, and the old way in is closed."""
    port = await tls_port(site, pki)
    async with connected(site, version) as station:
        if version is V16:
            asked = {"key": "SecurityProfile", "value": "2"}
            await command(site, station, "ChangeConfiguration", asked, YES)
            await command(site, station, "Reset", {"type": "Hard"}, YES)
        else:
            slot: Json = {
                "component": {"name": "OCPPCommCtrlr"},
                "variable": {"name": "NetworkConfigurationPriority"},
            }
            profile = {"configurationSlot": 2, "connectionData": CONNECTION}
            await command(site, station, "SetNetworkProfile", profile, YES)
            data = {"setVariableData": [{"attributeValue": "2", **slot}]}
            done = {"setVariableResult": [{"attributeStatus": "Accepted", **slot}]}
            await command(site, station, "SetVariables", data, done)
            await command(site, station, "Reset", {"type": "OnIdle"}, YES)
    await settle(site, security_profile=2)
    async with booted(site, version, PASSWORD.encode(), pki.client(), port):
        pass
    assert await is_refused(site, version, PASSWORD.encode())
    async with booted(site, version, PASSWORD.encode(), pki.client(), port):
        pass


# --- new certificates -------------------------------------------------------------------------------------


async def renewed(site: Site, station: Station, version: Version, csr: str, answer: str) -> str:
    """The certificate chain that the station was given; `answer` is what it says of it."""
    extended = version is V16
    station.answers("ExtendedTriggerMessage" if extended else "TriggerMessage", YES)
    station.answers("CertificateSigned", {"status": answer})
    reply = await site.gateway.renew_certificate(site.station_id, 5.0)
    assert reply.outcome is CommandOutcome.ACCEPTED
    wanted = "SignChargePointCertificate" if extended else "SignChargingStationCertificate"
    assert station.asked[-1][1] == {"requestedMessage": wanted}
    kind = {} if extended else {"certificateType": "ChargingStationCertificate"}
    assert (await station.call("SignCertificate", {"csr": csr, **kind}))["status"] == "Accepted"
    async with asyncio.timeout(5):
        while station.asked[-1][0] != "CertificateSigned":
            await asyncio.sleep(0.01)
    return str(station.asked[-1][1]["certificateChain"])


@pytest.mark.asyncio
@versions("TC_074_CSMS", "TC_A_11_CSMS")
async def test_tc_new_certificate(site: Site, pki: Pki, version: Version) -> None:
    """The station's new certificate opens the door."""
    await settle(site, security_profile=3)
    port, key = await tls_port(site, pki), p256()
    csr = request(key, station_name(site.station_id, OPERATOR))
    first, _ = pki.station(station_id=site.station_id, operator=OPERATOR)
    async with booted(site, version, None, first, port) as station:
        chain = await renewed(site, station, version, csr, "Accepted")
    async with booted(site, version, None, with_certificate(pki, chain, key), port):
        pass


@pytest.mark.asyncio
@versions("TC_077_CSMS", "TC_A_14_CSMS")
async def test_tc_new_certificate_refused(site: Site, pki: Pki, version: Version) -> None:
    """The old certificate still opens the door."""
    await settle(site, security_profile=3)
    port = await tls_port(site, pki)
    csr = request(p256(), station_name(site.station_id, OPERATOR))
    mine, _ = pki.station(station_id=site.station_id, operator=OPERATOR)
    async with booted(site, version, None, mine, port) as station:
        await renewed(site, station, version, csr, "Rejected")
        name = "InvalidChargePointCertificate" if version is V16 else "InvalidChargingStationCertificate"
        await station.says(("SecurityEventNotification", {"type": name, "timestamp": at()}))
    async with booted(site, version, None, mine, port):
        pass


@pytest.mark.asyncio
@pytest.mark.parametrize("version", [V16, V201])
async def test_a_certificate_is_renewed_before_it_ends(site: Site, pki: Pki, version: Version) -> None:
    """Once a day, until the station shows one that lasts."""
    await settle(site, security_profile=3)
    port = await tls_port(site, pki)
    mine, signed = pki.station(station_id=site.station_id, operator=OPERATOR)
    soon = signed.not_after - timedelta(days=20)
    trigger = "ExtendedTriggerMessage" if version is V16 else "TriggerMessage"
    async with booted(site, version, None, mine, port) as station:
        station.answers(trigger, YES, YES)
        await site.gateway.renew_certificates(NOW)
        assert station.asked == []
        for now in (soon, soon + timedelta(hours=23), soon + timedelta(hours=25)):
            await site.gateway.renew_certificates(now)
        assert [action for action, _ in station.asked] == [trigger] * 2
    await settle(site, security_profile=2)
    async with booted(site, version, PASSWORD.encode(), pki.client(), port) as station:
        await site.gateway.renew_certificates(soon)
        assert station.asked == []
