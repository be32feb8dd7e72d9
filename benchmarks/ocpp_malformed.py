"""The malformed corpus of tests/ocpp against our gateway and the stock package, one socket each, same run.

Counted: frames that got the one answer due, frames left without one, answers that are not what the
specification asks for, and how often the connection's loop died. The judge is the tests' own.

Run: python -m benchmarks.ocpp_malformed (about 3 minutes: the package is waited for)
"""

from __future__ import annotations

import base64
import logging

from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from benchmarks.ocpp_load import PASSWORD, run, serving, station_id
from benchmarks.ocpp_stations import postgres_with
from tests.ocpp.malformed_frames import ENVELOPES, V16, V201
from tests.ocpp.malformed_payloads import PAYLOADS
from tests.ocpp.malformed_runner import Runner, Tally
from tests.ocpp.malformed_transactions import TRANSACTIONS

PATIENCE_S = 1.0
SERVERS = {"house": "backstop", "stock": "ocpp, defaults"}


async def judged(port: int, version: str) -> Tally:
    token = base64.b64encode(f"{station_id(0)}:{PASSWORD}".encode()).decode()

    async def dial() -> ClientConnection:
        return await connect(
            f"ws://127.0.0.1:{port}/ocpp/{station_id(0)}",
            subprotocols=[Subprotocol(version)],
            additional_headers={"Authorization": f"Basic {token}"},
            compression=None,
            proxy=None,
        )

    runner = Runner(dial, version, patience_s=PATIENCE_S)
    await runner.open()
    for case in [*ENVELOPES, *PAYLOADS, *TRANSACTIONS]:
        if version in case.frames:
            await runner.frame(case)
    await runner.close()
    return runner.tally


async def main() -> None:
    logging.disable(logging.CRITICAL)
    for version in (V16, V201):
        print(version)
        for kind, label in SERVERS.items():
            async with (
                postgres_with(1, sessions=False) as (url, _),
                serving(kind, *([url] if kind == "house" else [])) as server,
            ):
                print(f"  {label:18} {await judged(server.port, version)}", flush=True)


if __name__ == "__main__":
    run(main)
