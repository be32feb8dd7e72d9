"""The process of simulated charge points, killed with -9 and started again; and mutual TLS."""

from __future__ import annotations

import asyncio
import signal
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import httpx
import pytest
from central_system import PACE, VAN, VERSIONS, CentralSystem, at_central, central_system, station_config
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from simulators.charge_points import ChargePointsConfig

Json = dict[str, Any]
CHECKOUT = Path(__file__).resolve().parents[2]


class Twins:
    """The process, and its control API."""

    def __init__(self, child: asyncio.subprocess.Process, control: httpx.AsyncClient) -> None:
        self._child, self._control = child, control

    async def post(self, path: str, body: Json) -> None:
        (await self._control.post(f"/twin/connectors/CP1:1/{path}", json=body)).raise_for_status()

    async def state(self) -> Json:
        return (await self._control.get("/twin/connectors/CP1:1")).json()

    async def kill(self) -> None:
        self._child.send_signal(signal.SIGKILL)
        await self._child.wait()


@asynccontextmanager
async def twins(central: CentralSystem, folder: Path, port: int, **more: Any) -> AsyncIterator[Twins]:
    config = ChargePointsConfig(
        pace=PACE, stations=(station_config(central.version, state_dir=str(folder / "state"), **more),)
    )
    file = folder / "stations.json"
    file.write_text(config.model_dump_json())
    gateway = f"ws://127.0.0.1:{central.port}/ocpp"
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "simulators.charge_points", "--config", str(file), "--gateway", gateway,
        "--control-port", str(port), cwd=CHECKOUT,
    )  # fmt: skip
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as control:
            async with asyncio.timeout(20):
                while True:
                    try:
                        await control.get("/twin/ledger")
                        break
                    except httpx.TransportError:
                        await asyncio.sleep(0.05)
            yield Twins(child, control)
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()


async def start(central: CentralSystem) -> None:
    if central.version == "ocpp1.6":
        reply = await central.call("RemoteStartTransaction", {"connectorId": 1, "idTag": "TAG1"})
    else:
        token = {"idToken": "TAG1", "type": "Central"}
        body = {"evseId": 1, "idToken": token, "remoteStartId": 77}
        reply = await central.call("RequestStartTransaction", body)
    assert reply["status"] == "Accepted"


@pytest.mark.asyncio
@pytest.mark.parametrize("version", VERSIONS)
async def test_a_killed_station_that_kept_power_replays_in_order_and_charges_on(
    version: str, tmp_path: Path, unused_tcp_port: int
) -> None:
    """The central system falls silent at the start: all that is said about the charge waits on disk."""
    action = "StartTransaction" if version == "ocpp1.6" else "TransactionEvent"
    async with central_system(version) as central:
        async with twins(central, tmp_path, unused_tcp_port, boots_after_restart=False) as first:
            await central.until_heard("StatusNotification")
            central.replies[action] = lambda body: ""
            await first.post("plug", VAN.model_dump(mode="json"))
            await start(central)
            told = (await central.until_heard(action))[0]
            await asyncio.wait_for(_energy_above(first, 10), 15)
            await first.kill()
        before = len(central.heard)
        central.replies.clear()
        async with twins(central, tmp_path, unused_tcp_port, boots_after_restart=False) as second:
            await central.until(lambda: len(central.heard) >= before + 4)
            await asyncio.wait_for(_charging(second), 15)
            await second.post("unplug", {})
            last = await _ended(central)
    again = central.heard[before:]
    actions = [name for name, _ in again]
    assert "BootNotification" not in actions
    assert actions[0] == action
    assert central.invalid == []
    if version == "ocpp1.6":
        assert again[0][1] == told
        assert actions.count("StartTransaction") == 1
        assert {b["transactionId"] for n, b in again if n in ("MeterValues", "StopTransaction")} == {101}
        registers = [
            float(b["meterValue"][0]["sampledValue"][0]["value"]) for n, b in again if n == "MeterValues"
        ]
        assert registers == sorted(registers)
        assert (last["reason"], last["meterStop"] >= registers[-1] - 1) == ("EVDisconnected", True)
    else:
        events = [body for name, body in again if name == "TransactionEvent"]
        assert events[0] == told | {"offline": True}
        assert [e["seqNo"] for e in events] == list(range(len(events)))
        assert len({e["transactionInfo"]["transactionId"] for e in events}) == 1
        flags = [e.get("offline", False) for e in events]
        assert flags == sorted(flags, reverse=True)
        assert flags[-1] is False


@pytest.mark.asyncio
@pytest.mark.parametrize("version", VERSIONS)
async def test_a_killed_station_that_lost_power_boots_and_ends_the_charge(
    version: str, tmp_path: Path, unused_tcp_port: int
) -> None:
    async with central_system(version) as central:
        async with twins(central, tmp_path, unused_tcp_port) as first:
            await central.until_heard("StatusNotification")
            await first.post("plug", VAN.model_dump(mode="json"))
            await start(central)
            await asyncio.wait_for(_energy_above(first, 10), 15)
            await first.kill()
        before = len(central.heard)
        async with twins(central, tmp_path, unused_tcp_port):
            last = await _ended(central)
    assert central.heard[before][0] == "BootNotification"
    assert central.invalid == []
    if version == "ocpp1.6":
        assert (last["transactionId"], last["reason"]) == (101, "PowerLoss")
        assert last["meterStop"] > central.of("StartTransaction")[0]["meterStart"]
    else:
        assert last["transactionInfo"]["stoppedReason"] == "PowerLoss"
        numbers = sorted({e["seqNo"] for e in central.events()})
        assert numbers == list(range(len(numbers)))


async def _energy_above(twin: Twins, kwh: float) -> None:
    while (await twin.state())["energy_kwh"] < kwh:
        await asyncio.sleep(0.05)


async def _charging(twin: Twins) -> None:
    while not (await twin.state())["charging"]:
        await asyncio.sleep(0.05)


async def _ended(central: CentralSystem) -> Json:
    if central.version == "ocpp1.6":
        return (await central.until_heard("StopTransaction"))[-1]
    return (await central.until(lambda: central.events("Ended")))[-1]


# --- TLS ------------------------------------------------------------------------------------------------


class Authority:
    """Issues certificates for one test."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(self._certificate(self._name, self._key, ca=True))

    def issue(self, name: str) -> tuple[str, str]:
        """Certificate and key file."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        cert_file, key_file = self._folder / f"{name}.crt", self._folder / f"{name}.key"
        cert_file.write_bytes(self._certificate(subject, key, ca=False))
        key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return str(cert_file), str(key_file)

    def _certificate(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, ca: bool) -> bytes:
        now = datetime.now(UTC)
        names = [x509.DNSName("localhost"), x509.IPAddress(IPv4Address("127.0.0.1"))]
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        built = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(identifier, critical=False)
        )
        return built.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@pytest.mark.asyncio
async def test_mutual_tls_and_a_stranger_is_not_trusted(tmp_path: Path) -> None:
    ours, strange = Authority(tmp_path, "ours"), Authority(tmp_path, "strange")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(ours.file))
    context.load_cert_chain(*ours.issue("gateway"))
    context.verify_mode = ssl.CERT_REQUIRED
    cert_file, key_file = ours.issue("CP1")
    mine = {"cert_file": cert_file, "key_file": key_file}
    async with central_system("ocpp2.0.1", context) as central:
        async with at_central(central, scheme="wss", ca_file=str(ours.file), **mine) as site:
            await site.charge()
            names = [dict(pair[0] for pair in peer["subject"]) for peer in central.peer_certificates]
            assert names == [{"commonName": "CP1"}]
            assert central.invalid == []
        heard = len(central.heard)
        with pytest.raises(TimeoutError):
            async with (
                asyncio.timeout(1),
                at_central(central, scheme="wss", ca_file=str(strange.file), **mine),
            ):
                await central.until(lambda: len(central.heard) > heard)
        assert len(central.heard) == heard
