"""The RPC layer: validated messages per second of processor time, ours over the stock package, in one run.

1. Alone, in this process: a frame as text goes in, is parsed, validated, dispatched to a handler that returns
at once, and its validated answer comes out as text. Neither side has sockets.
2. With sockets: the same 100 stations (closed loop, frames made ahead, no compression), one server at a time,
each in a process of its own on libuv's loop, with handlers that return at once; and ours with its own
handlers over a house that returns at once. The package with its defaults, and at its best.
On a busy machine only the ratios hold.

Run: python -m benchmarks.ocpp_rpc (about 5 minutes)
"""

from __future__ import annotations

import asyncio
import json
import logging
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import ocpp.messages

from benchmarks.ocpp_load import Depot, Figures, closed_loop, frame, run, serving
from benchmarks.ocpp_server import TRANSACTION_ID, TRANSACTION_REF, Stock16, Stock201
from connectors.ocpp.connection import TABLES
from connectors.ocpp.wire.rpc import Answer, Rpc, Rules
from connectors.ocpp.wire.schemas import Version

SOCKETS = 100
SECONDS = 3.0
BATCH = 200
ROUNDS = 3
SERVERS = {
    "rpc": "backstop",
    "instant": "backstop, handlers",
    "stock": "ocpp, defaults",
    "stock-lean": "ocpp at its best",
}
AT = datetime.now(UTC).isoformat(timespec="seconds")


def meter_value(samples: int = 4) -> dict[str, Any]:
    sampled = [
        {"value": "1250", "measurand": "Energy.Active.Import.Register", "unit": "Wh"},
        {"value": "49800.0", "measurand": "Power.Active.Import", "unit": "W"},
        {"value": "124.5", "measurand": "Current.Import", "unit": "A"},
        {"value": "54", "measurand": "SoC", "unit": "Percent", "location": "EV"},
    ]
    return {
        "timestamp": AT,
        "sampledValue": [{"context": "Sample.Periodic", **one} for one in sampled[:samples]],
    }


def meter_values(times: int) -> dict[str, Any]:
    return {
        "connectorId": 1,
        "transactionId": TRANSACTION_ID,
        "meterValue": [meter_value() for _ in range(times)],
    }


def transaction_event() -> dict[str, Any]:
    sampled = [
        {"value": 1250.0, "measurand": "Energy.Active.Import.Register", "unitOfMeasure": {"unit": "Wh"}},
        {"value": 49800.0, "measurand": "Power.Active.Import", "unitOfMeasure": {"unit": "W"}},
        {"value": 124.5, "measurand": "Current.Import", "unitOfMeasure": {"unit": "A"}},
        {"value": 54.0, "measurand": "SoC", "unitOfMeasure": {"unit": "Percent"}},
    ]
    return {
        "eventType": "Updated",
        "timestamp": AT,
        "triggerReason": "MeterValuePeriodic",
        "seqNo": 3,
        "transactionInfo": {"transactionId": TRANSACTION_REF, "chargingState": "Charging"},
        "meterValue": [
            {"timestamp": AT, "sampledValue": [{"context": "Sample.Periodic", **s} for s in sampled]}
        ],
    }


MESSAGES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "1.6 MeterValues 1x4": ("ocpp1.6", "MeterValues", meter_values(1)),
    "1.6 MeterValues 3x4": ("ocpp1.6", "MeterValues", meter_values(3)),
    "2.0.1 TransactionEvent 1x4": ("ocpp2.0.1", "TransactionEvent", transaction_event()),
}


def repeated(action: str, payload: dict[str, Any]) -> Callable[[int], Callable[[], bytes]]:
    """The same frame of a station over and over."""

    def make(number: int) -> Callable[[], bytes]:
        data = frame(json.dumps([2, f"message-{number}", action, payload], separators=(",", ":")))
        return lambda: data

    return make


async def measured(server_kind: str, subprotocol: str, action: str, payload: dict[str, Any]) -> Figures:
    async with serving(server_kind) as server:
        depot = Depot(server.port, subprotocol)
        await depot.connect(range(SOCKETS))
        figures = await closed_loop(depot, server, repeated(action, payload), SECONDS)
        await depot.close()
        return figures


async def _ours_alone(version: Version, text: str) -> float:
    """Messages per second of processor time."""
    said = 0

    async def at_once(action: str, payload: dict[str, Any]) -> Answer:
        return Answer({})

    async def send(text: str) -> None:
        nonlocal said
        said += 1

    rpc = Rpc(version, send, at_once, Rules(frozenset(TABLES[version])), lambda: None)
    began = time.process_time()
    while (spent := time.process_time() - began) < SECONDS / 2:
        for _ in range(BATCH):
            await rpc.receive(text)
            await asyncio.sleep(0)  # as between two frames of a socket
    return said / spent


class _NoSocket:
    """What the package writes to."""

    def __init__(self) -> None:
        self.said = 0

    async def send(self, text: str) -> None:
        self.said += 1


async def _package_alone(version: Version, text: str, lean: bool) -> float:
    ocpp.messages.ASYNC_VALIDATION = not lean
    socket = _NoSocket()
    point = (Stock16 if version is Version.V16 else Stock201)("bench", socket)
    began = time.process_time()
    while (spent := time.process_time() - began) < SECONDS / 2:
        for _ in range(BATCH):
            await point.route_message(text)
    return socket.said / spent


async def alone(version: Version, action: str, payload: dict[str, Any]) -> None:
    text = json.dumps([2, "message-10", action, payload], separators=(",", ":"))
    found: dict[str, list[float]] = {"ours": [], "defaults": [], "best": []}
    for _ in range(ROUNDS):
        found["ours"].append(await _ours_alone(version, text))
        found["defaults"].append(await _package_alone(version, text, lean=False))
        found["best"].append(await _package_alone(version, text, lean=True))
    middle = {name: statistics.median(values) for name, values in found.items()}
    print(
        f"  alone: {middle['ours']:,.0f} per core ({min(found['ours']):,.0f} to {max(found['ours']):,.0f});"
        f" the package {middle['defaults']:,.0f}, at its best {middle['best']:,.0f};"
        f" ratio {middle['ours'] / middle['defaults']:.1f}, {middle['ours'] / middle['best']:.1f}"
    )


async def main() -> None:
    logging.getLogger("ocpp").addHandler(logging.NullHandler())
    logging.getLogger("ocpp").propagate = False
    for name, (subprotocol, action, payload) in MESSAGES.items():
        size = len(json.dumps([2, "message-10", action, payload], separators=(",", ":")))
        print(f"{name} ({size} bytes)")
        await alone(Version(subprotocol), action, payload)
        rounds: dict[str, list[Figures]] = {kind: [] for kind in SERVERS}
        for number in range(ROUNDS):
            for kind, label in SERVERS.items():
                figures = await measured(kind, subprotocol, action, payload)
                rounds[kind].append(figures)
                print(f"  round {number + 1}  {label:18} {figures}")
        per_core = {kind: [each.per_core for each in figures] for kind, figures in rounds.items()}
        middle = {kind: statistics.median(values) for kind, values in per_core.items()}
        ours = per_core["rpc"]
        print(
            f"  with sockets: {middle['rpc']:,.0f} per server core ({min(ours):,.0f} to {max(ours):,.0f}),"
            f" with our handlers {middle['instant']:,.0f};"
            f" the package {middle['stock']:,.0f}, at its best {middle['stock-lean']:,.0f};"
            f" ratio {middle['rpc'] / middle['stock']:.1f}, {middle['rpc'] / middle['stock-lean']:.1f}",
            flush=True,
        )


if __name__ == "__main__":
    run(main)
