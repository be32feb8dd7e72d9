"""Records the histories that `make test` replays: one per outcome path, per release.

python -m tools.record_histories   (from the checkout; writes tests/histories/<release>/<path>.json)
Run it for a release, never to make a failing replay pass: that would hide the change that breaks running
stops.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from pathlib import Path
from typing import Any

from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import TimeSkipper, TimeSkippingConfig

from models.contract import UPDATE_APPROVE, UPDATE_CANCEL, keeper_workflow_id
from models.evidence import EvidenceKind
from models.reason_codes import ReasonCode
from models.stop import Approval, CancelRequest, Receipt, StopMode, StopPhase
from store.database import Store
from store.migration import migrate
from tests.workflows.conftest import StopHandle, Surroundings, patient_policy, surroundings
from tests.workflows.scripted_charger import REJECT
from tests.workflows.stages import charge_fully, charging, start_given_up
from tests.workflows.stop_words import arrive, heard, tell
from workers.stack.postgres import Postgres
from workers.stack.temporal_server import TemporalServer

RELEASE = "2.0"
FOLDER = Path(__file__).resolve().parents[1] / "tests" / "histories" / RELEASE


async def keep(stop: StopHandle, name: str) -> None:
    await stop.result()
    history = json.loads((await stop.handle.fetch_history()).to_json())
    write(name, history)


def write(name: str, history: dict[str, Any]) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / f"{name}.json").write_text(json.dumps(history, separators=(",", ":")) + "\n")
    print(name, len(history["events"]))


async def record(client: Client, store: Store) -> None:
    async with surroundings(client, store, policy=patient_policy()) as around:
        stop = await around.start()
        await arrive(stop)
        await charge_fully(stop)
        await keep(stop, "charged")

        around.charger.replies["c1"] = [REJECT]
        stop = await around.start()
        await arrive(stop)
        await stop.until(lambda v: v.attempt_number == 1 and v.phase is StopPhase.EN_ROUTE)
        await arrive(stop, "a2")
        await charge_fully(stop, number=2)
        await keep(stop, "charged_after_fallback")

        stop = await around.start()
        await arrive(stop)
        command = await stop.command(1)
        reason = ReasonCode.SUSTAIN_UNPLUGGED_EARLY
        await around.charger.say(command, EvidenceKind.SESSION_ENDED, energy_kwh=8.0, reason=reason)
        await keep(stop, "charged_short")

        stop, command = await charging(around)
        await around.charger.say(command, EvidenceKind.METER, energy_kwh=5.0)
        await stop.handle.execute_update(UPDATE_CANCEL, CancelRequest(event_id="x"), result_type=Receipt)
        await keep(stop, "cancelled_in_mid_charge")

        stop = await around.start(around.request(mode=StopMode.SHADOW))
        await keep(stop, "not_charged_shadow")

        skipper = TimeSkipper(client, config=TimeSkippingConfig(enabled=False))
        stop = await around.start(client=skipper.client)
        await stop.until(lambda v: v.phase is StopPhase.EN_ROUTE)
        await skipper.fast_forward(skipper.client.get_workflow_handle(stop.handle.id), 3600)
        await keep(stop, "no_show")

    late = patient_policy(confirmation_s=1.5)
    async with surroundings(client, store, policy=late) as around:
        stop, first = await start_given_up(around)
        await around.charger.say(first, EvidenceKind.SESSION_STARTED)
        await charge_fully(stop)
        await keep(stop, "late_start_adopted")

    async with surroundings(client, store, policy=late) as around:
        stop, first = await start_given_up(around)
        await arrive(stop, "a2")
        await stop.until(lambda v: v.phase is StopPhase.CHARGING)
        await around.charger.say(first, EvidenceKind.SESSION_STARTED)
        await charge_fully(stop, number=2)
        await keep(stop, "late_start_stopped")

    async with surroundings(client, store, policy=patient_policy()) as around:
        await record_more(around)

    tired = patient_policy(max_attempts=1, human_deadline_s=1)
    async with surroundings(client, store, policy=tired) as around:
        around.charger.replies["c1"] = [REJECT]
        stop = await around.start()
        await arrive(stop)
        await keep(stop, "handed_to_human")


async def record_more(around: Surroundings) -> None:
    request = around.request()
    full = request.vehicle.model_copy(update={"soc_percent": 90.0})
    stop = await around.start(request.model_copy(update={"vehicle": full}))
    await keep(stop, "not_needed")

    stop = await around.start()
    await stop.until(lambda v: v.phase is StopPhase.EN_ROUTE)
    await tell(stop, heard(EvidenceKind.STATION_OFFLINE, charger_id="c1"))
    await stop.until(lambda v: v.charger_id not in (None, "c1") and v.phase is StopPhase.EN_ROUTE)
    await arrive(stop)
    await stop.command(1)
    await stop.until(lambda v: v.phase is StopPhase.CHARGING)
    await stop.handle.cancel()
    await keep(stop, "replanned_then_cancelled_natively")

    stop = await around.start(around.request(mode=StopMode.ASSISTED))
    await stop.until(lambda v: v.awaiting_approval_until is not None)
    approval = Approval(event_id="yes", approved=True)
    await stop.handle.execute_update(UPDATE_APPROVE, approval, result_type=Receipt)
    await arrive(stop)
    command = await stop.command(1)
    await stop.until(lambda v: v.phase is StopPhase.CHARGING)
    await around.charger.say(command, EvidenceKind.SUSPENDED_BY_CHARGER)
    await stop.until(lambda v: v.reason is ReasonCode.SUSTAIN_PAUSED)
    await around.charger.say(command, EvidenceKind.TARGET_REACHED, energy_kwh=30.5)
    await keep(stop, "assisted_paused_and_charged")

    around.charger.obeys_stop = False
    stop, command = await charging(around)
    await stop.handle.execute_update(UPDATE_CANCEL, CancelRequest(event_id="x"), result_type=Receipt)
    await keep(stop, "session_kept_beyond_its_stop")
    await around.charger.say(command, EvidenceKind.SESSION_ENDED, energy_kwh=9.0)
    keeper = around.client.get_workflow_handle(keeper_workflow_id(command.attempt_id))
    await keeper.result()
    write("keeper", json.loads((await keeper.fetch_history()).to_json()))


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with (
            TemporalServer(Path(folder) / "temporal", ui=False) as temporal,
            Postgres(Path(folder) / "pg") as postgres,
        ):
            await asyncio.to_thread(migrate, postgres.url)
            store = Store(postgres.url)
            client = await Client.connect(
                temporal.address, data_converter=pydantic_data_converter, identity="recorder"
            )
            await record(client, store)
            await store.dispose()


if __name__ == "__main__":
    asyncio.run(main())
