"""Who gets through a real TLS socket, and who a client certificate says it is."""

from __future__ import annotations

import asyncio
import ssl
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from station_pki import (
    NOW,
    OPERATOR,
    REFUSED,
    STATION,
    TLS_1_2,
    TLS_1_3,
    Pki,
    ca,
    opened,
    p256,
    private_pem,
    shake_hands,
    station_name,
)

from connectors.ocpp.door.certificates import (
    StationAuthority,
    due_for_renewal,
)
from connectors.ocpp.door.transport_security import client_identity, is_station, server_context

# --- who a certificate says it is -----------------------------------------------------------------------


def peer(*attributes: tuple[str, str]) -> dict[str, Any]:
    return {"subject": tuple((attribute,) for attribute in attributes)}


def test_identity_is_exact_and_never_guessed() -> None:
    mine = peer(("organizationName", OPERATOR), ("commonName", STATION))
    assert client_identity(mine) == (STATION, OPERATOR)
    assert is_station(mine, STATION, OPERATOR)
    one_rdn = {"subject": ((("organizationName", OPERATOR), ("commonName", STATION)),)}
    assert is_station(one_rdn, STATION, OPERATOR)
    assert not is_station(mine, STATION[:-1], OPERATOR)
    assert not is_station(mine, STATION + "1", OPERATOR)
    assert not is_station(mine, STATION.lower(), OPERATOR)
    assert not is_station(mine, STATION, OPERATOR.upper())
    assert not is_station(mine, STATION, "Backstop")
    assert not is_station(mine, "", "")
    for unclear in (
        None,
        {},
        peer(("commonName", STATION)),
        peer(("organizationName", OPERATOR)),
        peer(("organizationName", OPERATOR), ("commonName", STATION), ("commonName", "CP-0002")),
        peer(("organizationName", OPERATOR), ("commonName", STATION), ("commonName", STATION)),
        peer(("organizationName", OPERATOR), ("organizationName", "Other"), ("commonName", STATION)),
    ):
        assert client_identity(unclear) is None
        assert not is_station(unclear, STATION, OPERATOR)


# --- over a real socket ---------------------------------------------------------------------------------


@pytest.fixture
def pki(tmp_path: Path, authority: StationAuthority) -> Pki:
    return Pki(tmp_path, authority)


def tls_1_1(side: int) -> ssl.SSLContext:
    """What an old station speaks. The versions and ciphers are deprecated, as they should be."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        made = ssl.SSLContext(side)
        if side == ssl.PROTOCOL_TLS_CLIENT:
            made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
        made.minimum_version = made.maximum_version = ssl.TLSVersion.TLSv1_1
    made.set_ciphers("ALL:@SECLEVEL=0")
    return made


@pytest.mark.asyncio
async def test_tls_1_1_is_refused(pki: Pki) -> None:
    old_client, old_server = tls_1_1(ssl.PROTOCOL_TLS_CLIENT), tls_1_1(ssl.PROTOCOL_TLS_SERVER)
    async with opened(pki.server()) as door:
        await door.refuses(old_client, "UNSUPPORTED_PROTOCOL")
    old_server.load_cert_chain(pki.folder / "server.pem", pki.folder / "server.key")
    async with opened(old_server) as door:
        await door.enter(old_client)  # it is the gateway that refuses, not the client


@pytest.mark.asyncio
async def test_plain_http_is_refused(pki: Pki) -> None:
    async with opened(pki.server()) as door:
        with pytest.raises(REFUSED):
            await door.enter(None)
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        try:
            async with asyncio.timeout(10):
                assert not (await reader.read()).startswith(b"HTTP")
        except ConnectionError:
            pass
        finally:
            writer.close()
        assert not door.seen
        await door.enter(pki.client())


@pytest.mark.asyncio
async def test_suites_are_aes_gcm_for_both_kinds_of_key_and_forward_secret_where_it_can_be(pki: Pki) -> None:
    context = pki.server()
    second = pki.authority.issue_server("localhost", ["127.0.0.1"], NOW, rsa_key=True)
    context.load_cert_chain(pki.write("rsa.pem", second.chain_pem), pki.write("rsa.key", second.key_pem))
    async with opened(context) as door:
        for suite in (
            "ECDHE-ECDSA-AES128-GCM-SHA256",
            "ECDHE-ECDSA-AES256-GCM-SHA384",
            "ECDHE-RSA-AES128-GCM-SHA256",
            "ECDHE-RSA-AES256-GCM-SHA384",
            "AES128-GCM-SHA256",  # A00.FR.318 names it; a station that knows better gets better
        ):
            client = pki.client(TLS_1_2)
            client.set_ciphers(suite)
            assert await door.enter(client) == suite
        both = pki.client(TLS_1_2)
        both.set_ciphers("AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256")
        assert await door.enter(both) == "ECDHE-RSA-AES128-GCM-SHA256"
        for suite in ("AES128-SHA", "ECDHE-ECDSA-AES128-SHA", "ECDHE-ECDSA-CHACHA20-POLY1305"):
            client = pki.client(TLS_1_2)
            client.set_ciphers(suite)
            await door.refuses(client, "NO_SHARED_CIPHER")
        assert await door.enter(pki.client(TLS_1_3))


@pytest.mark.asyncio
@pytest.mark.parametrize("version", [TLS_1_2, TLS_1_3])
@pytest.mark.parametrize("kind", ["ec", "rsa"])
async def test_station_with_its_certificate_is_let_in_and_known(
    pki: Pki, rsa_key: rsa.RSAPrivateKey, version: ssl.TLSVersion, kind: str
) -> None:
    station, _ = pki.station(version=version, key=rsa_key if kind == "rsa" else None)
    async with opened(pki.server(require_client=True)) as door:
        await door.enter(station)
        assert is_station(door.seen[0], STATION, OPERATOR)


@pytest.mark.asyncio
@pytest.mark.parametrize("version", [TLS_1_2, TLS_1_3])
@pytest.mark.parametrize("require_client", [True, False])
async def test_certificate_of_another_ca_is_refused(
    pki: Pki, stranger: StationAuthority, version: ssl.TLSVersion, require_client: bool
) -> None:
    """Even where none is required, a wrong one is no better than a wrong password."""
    station, _ = pki.station(stranger, version=version)
    async with opened(pki.server(require_client)) as door:
        await door.refuses(station, "unable to get local issuer certificate")
        await door.enter(pki.station()[0])


@pytest.mark.asyncio
@pytest.mark.parametrize("version", [TLS_1_2, TLS_1_3])
async def test_no_certificate_is_refused_only_where_one_is_required(
    pki: Pki, version: ssl.TLSVersion
) -> None:
    async with opened(pki.server(require_client=True)) as door:
        await door.refuses(pki.client(version), "PEER_DID_NOT_RETURN_A_CERTIFICATE")
    async with opened(pki.server(require_client=False)) as door:
        await door.enter(pki.client(version))
        assert client_identity(door.seen[0]) is None
        await door.enter(pki.station(version=version)[0])
        assert client_identity(door.seen[1]) == (STATION, OPERATOR)


@pytest.mark.asyncio
async def test_without_a_client_ca_no_certificate_counts(pki: Pki) -> None:
    async with opened(pki.server()) as door:
        await door.enter(pki.station()[0])
        assert not is_station(door.seen[0], STATION, OPERATOR)


@pytest.mark.asyncio
async def test_another_station_or_operator_of_the_same_ca_is_not_this_station(pki: Pki) -> None:
    async with opened(pki.server(require_client=True)) as door:
        await door.enter(pki.station(station_id="CP-0002")[0])
        await door.enter(pki.station(operator="Other")[0])
        other_station, other_operator = door.seen
    assert client_identity(other_station) == ("CP-0002", OPERATOR)
    assert not is_station(other_station, STATION, OPERATOR)
    assert client_identity(other_operator) == (STATION, "Other")
    assert not is_station(other_operator, STATION, OPERATOR)


@pytest.mark.asyncio
async def test_server_certificate_is_no_station(pki: Pki) -> None:
    async with opened(pki.server(require_client=True)) as door:
        client = pki.client(TLS_1_2)
        client.load_cert_chain(pki.folder / "server.pem", pki.folder / "server.key")
        await door.refuses(client, "unsuitable certificate purpose")


@pytest.mark.asyncio
async def test_station_renews_before_its_certificate_ends(pki: Pki) -> None:
    old, first = pki.station(at=NOW - timedelta(days=340))
    assert due_for_renewal(first.not_after, NOW)
    new, second = pki.station(at=NOW)  # a new key, as A02.FR.02 wants
    assert not due_for_renewal(second.not_after, NOW)
    assert first.serial_hex != second.serial_hex
    expired, _ = pki.station(at=NOW - timedelta(days=370), version=TLS_1_2)
    async with opened(pki.server(require_client=True)) as door:
        await door.enter(old)  # until it has the new one
        await door.enter(new)
        assert all(is_station(each, STATION, OPERATOR) for each in door.seen)
        assert [int(str((each or {})["serialNumber"]), 16) for each in door.seen] == [
            int(first.serial_hex, 16),
            int(second.serial_hex, 16),
        ]
        await door.refuses(expired, "certificate has expired")


@pytest.mark.asyncio
@pytest.mark.parametrize("trusts", ["root", "sub"])
async def test_ca_below_a_root_serves_with_either_trusted(pki: Pki, trusts: str) -> None:
    """An RSA CA, too: it signs with PSS (A00.FR.505)."""
    root_key, sub_key = p256(), rsa.generate_private_key(65537, 2048)
    root = ca(root_key, "Root")
    sub = ca(sub_key, "Sub", station_name("Root"), root_key)
    below = StationAuthority(sub, private_pem(sub_key))
    sibling_key = p256()
    sibling = StationAuthority(
        ca(sibling_key, "Sibling", station_name("Root"), root_key), private_pem(sibling_key)
    )
    async with opened(pki.server(True, root if trusts == "root" else sub)) as door:
        await door.enter(pki.station(below)[0])
        assert is_station(door.seen[0], STATION, OPERATOR)
        if trusts == "sub":  # the root's other CAs are not ours
            await door.refuses(pki.station(sibling)[0], "unable to get local issuer certificate")


@pytest.mark.parametrize("version", [TLS_1_2, TLS_1_3])
def test_no_session_is_resumed(pki: Pki, version: ssl.TLSVersion) -> None:
    """Else a certificate would be looked at once, and not on every connection."""
    station, _ = pki.station(version=version)
    gateway = pki.server(require_client=True)
    first = shake_hands(gateway, station)
    assert first.session is not None
    assert not first.session.has_ticket
    assert not shake_hands(gateway, station, first.session).session_reused


def test_context_needs_what_it_is_asked_to_check(pki: Pki) -> None:
    made = pki.authority.issue_server("localhost", [], NOW)
    cert, key = pki.write("a.pem", made.chain_pem), pki.write("a.key", made.key_pem)
    context = server_context(cert, key, None, require_client=False)
    assert context.options & ssl.OP_NO_COMPRESSION
    assert context.options & ssl.OP_NO_RENEGOTIATION
    with pytest.raises(ValueError, match="without their CA"):
        server_context(cert, key, None, require_client=True)
    with pytest.raises(FileNotFoundError):
        server_context(cert, pki.folder / "absent", None, require_client=False)
    with pytest.raises(ssl.SSLError):
        server_context(cert, pki.write("b.key", private_pem(p256())), None, require_client=False)
    with pytest.raises(ssl.SSLError):
        server_context(cert, key, pki.write("ca.pem", b"nonsense"), require_client=False)
    # Would otherwise ask for the password at the terminal, and wait.
    with pytest.raises(ssl.SSLError):
        server_context(cert, pki.write("c.key", private_pem(p256(), b"secret")), None, require_client=False)
