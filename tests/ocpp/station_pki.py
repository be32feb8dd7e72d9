"""Certificates of stations made for a test, and a TLS door that they may or may not pass."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import WebSocketException

from connectors.ocpp.door.certificates import (
    SignedCertificate,
    StationAuthority,
)
from connectors.ocpp.door.transport_security import server_context

NOW = datetime.now(UTC).replace(microsecond=0)
STATION, OPERATOR = "CP-0001", "Backstop Fleet"
REFUSED = (OSError, EOFError, WebSocketException)  # ssl.SSLError is an OSError
CN, O = NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME  # noqa: E741  as X.500 calls it
TLS_1_2, TLS_1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


def p256() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def name(*attributes: tuple[x509.ObjectIdentifier, str]) -> x509.Name:
    return x509.Name([x509.NameAttribute(kind, value) for kind, value in attributes])


def station_name(common_name: str = STATION, operator: str = OPERATOR) -> x509.Name:
    return name((NameOID.ORGANIZATION_NAME, operator), (NameOID.COMMON_NAME, common_name))


def request(key: Any, subject: x509.Name | None = None, *extensions: x509.ExtensionType) -> str:
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject or station_name())
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, algorithm).public_bytes(Encoding.PEM).decode()


def private_pem(key: Any, password: bytes | None = None) -> bytes:
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def ca(key: Any, common_name: str, issuer: x509.Name | None = None, signed_by: Any = None) -> bytes:
    """A CA as others make it: without key identifiers."""
    subject = station_name(common_name)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer or subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(NOW + timedelta(days=1000))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(signed_by or key, hashes.SHA256())
        .public_bytes(Encoding.PEM)
    )


def old_authority() -> StationAuthority:
    """Old enough to have signed what has expired."""
    return StationAuthority.create(OPERATOR, NOW - timedelta(days=900))


def shake_hands(
    server: ssl.SSLContext, client: ssl.SSLContext, session: ssl.SSLSession | None = None
) -> ssl.SSLObject:
    """A handshake in memory; the client's side of it, after one byte from the server (and its tickets).
    Raises the server's ssl.SSLError."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = server.wrap_bio(to_server, to_client, server_side=True)
    theirs = client.wrap_bio(to_client, to_server, server_hostname="localhost", session=session)
    for _ in range(10):
        with suppress(ssl.SSLWantReadError):
            theirs.do_handshake()
        with suppress(ssl.SSLWantReadError):
            ours.do_handshake()
            ours.write(b"!")
            theirs.do_handshake()
            assert theirs.read(1) == b"!"
            return theirs
    raise AssertionError("no end of the handshake")


def why_refused(server: ssl.SSLContext, client: ssl.SSLContext) -> str:
    """The server's reason to end a handshake with this client: asyncio closes without telling it."""
    with pytest.raises(ssl.SSLError) as refused:
        shake_hands(server, client)
    error = refused.value
    return error.verify_message if isinstance(error, ssl.SSLCertVerificationError) else error.reason


@dataclass
class Door:
    """A websocket server behind a TLS context; `seen` has the peer certificate of every one let in."""

    context: ssl.SSLContext
    port: int = 0
    seen: list[dict[str, Any] | None] = field(default_factory=list)

    async def enter(self, client: ssl.SSLContext | None) -> str | None:
        """Connects, hears the greeting, and gives the cipher suite."""
        async with asyncio.timeout(10):
            scheme = "ws" if client is None else "wss"
            async with connect(f"{scheme}://127.0.0.1:{self.port}", ssl=client, proxy=None) as socket:
                assert await socket.recv() == "welcome"
                cipher = socket.transport.get_extra_info("cipher")
                return cipher[0] if cipher else None

    async def refuses(self, client: ssl.SSLContext, reason: str) -> None:
        """Nothing of ours runs for this client, and the server's reason is this one."""
        before = len(self.seen)
        with pytest.raises(REFUSED):
            await self.enter(client)
        assert len(self.seen) == before
        assert why_refused(self.context, client) == reason


@asynccontextmanager
async def opened(context: ssl.SSLContext) -> AsyncGenerator[Door, None]:
    door = Door(context)

    async def greet(socket: ServerConnection) -> None:
        door.seen.append(socket.transport.get_extra_info("ssl_object").getpeercert())
        await socket.send("welcome")

    async with serve(greet, "127.0.0.1", 0, ssl=context) as server:
        door.port = next(iter(server.sockets)).getsockname()[1]
        yield door


@dataclass
class Pki:
    """Files of one test, in its own folder."""

    folder: Path
    authority: StationAuthority

    def write(self, file: str, content: bytes) -> Path:
        path = self.folder / file
        path.write_bytes(content)
        return path

    def server(self, require_client: bool | None = None, client_ca: bytes = b"") -> ssl.SSLContext:
        """`require_client` None: no client CA at all."""
        made = self.authority.issue_server("localhost", ["127.0.0.1"], NOW)
        trusted = self.write("client-ca.pem", client_ca or self.authority.cert_pem)
        return server_context(
            self.write("server.pem", made.chain_pem),
            self.write("server.key", made.key_pem),
            None if require_client is None else trusted,
            bool(require_client),
        )

    def client(self, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
        made = ssl.create_default_context(cadata=self.authority.cert_pem.decode())
        made.verify_flags |= ssl.VERIFY_X509_STRICT  # as newer clients do by default
        if version is not None:
            made.minimum_version = made.maximum_version = version
        return made

    def station(
        self,
        authority: StationAuthority | None = None,
        station_id: str = STATION,
        operator: str = OPERATOR,
        at: datetime = NOW,
        version: ssl.TLSVersion | None = None,
        key: Any = None,
    ) -> tuple[ssl.SSLContext, SignedCertificate]:
        """A station with a certificate of its own, as a TLS client."""
        key = key or p256()
        signed = (authority or self.authority).sign(
            request(key, station_name(station_id, operator)), station_id, operator, at
        )
        made = self.client(version)
        made.load_cert_chain(
            self.write("station.pem", signed.chain_pem.encode()),
            self.write("station.key", private_pem(key)),
        )
        return made, signed
