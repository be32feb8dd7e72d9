"""What anybody with a Temporal client (a backend in another language, an operator's CLI) may send.

Nothing of it wedges a stop or a keeper: no failed workflow task, and the stop goes on or ends with a word.
"""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.client import (
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowUpdateFailedError,
)
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError

from models.commands import ChargerCommand
from models.contract import (
    KEEPER_WORKFLOW,
    SIGNAL_ARRIVED,
    SIGNAL_EVIDENCE,
    STOP_WORKFLOW,
    UPDATE_APPROVE,
    UPDATE_ARRIVED,
    UPDATE_CANCEL,
    UPDATE_CHOOSE,
    UPDATE_PROBLEM,
    UPDATE_RELEASE_SESSION,
    keeper_workflow_id,
)
from models.evidence import EvidenceKind
from models.stop import ChargingStopInput, StopOutcome, StopPhase
from stops.stop import Stop
from tests.workflows.conftest import StopHandle, Surroundings
from tests.workflows.stop_words import arrive, cancel, heard, task_failures


def raw(text: bytes, encoding: bytes = b"json/plain") -> RawValue:
    return RawValue(Payload(metadata={"encoding": encoding}, data=text))


_STARTS: dict[str, list[Any]] = {
    "no argument": [],
    "two arguments": [{"tenant_id": "x"}, 2],
    "no JSON": [raw(b"{not json")],
    "half a surrogate pair": [raw(b'{"tenant_id":"x","request":{"contract":"\\ud800"}}')],
    "an integer of 6,000 digits": [raw(b'{"tenant_id":' + b"9" * 6000 + b"}")],
    "depth of 5,000": [raw(b"[" * 5000 + b"]" * 5000)],
    "unknown encoding": [raw(b"\x00\xff", b"binary/weird")],
    "binary": [raw(b"\x00\xff", b"binary/plain")],
    "carried nothing": [{"carried": {}}],
    "carried a list": [{"carried": [1]}],
    "null": [None],
    "a list": [[1, 2]],
}


_SIGNALS: dict[str, tuple[str, list[Any]]] = {
    "evidence: no argument": (SIGNAL_EVIDENCE, []),
    "evidence: two arguments": (SIGNAL_EVIDENCE, [[], []]),
    "evidence: two arguments, no lists": (SIGNAL_EVIDENCE, ["x", 1]),
    "evidence: null": (SIGNAL_EVIDENCE, [None]),
    "evidence: an object": (SIGNAL_EVIDENCE, [{"event_id": "x"}]),
    "evidence: no JSON": (SIGNAL_EVIDENCE, [raw(b"{")]),
    "evidence: unknown encoding": (SIGNAL_EVIDENCE, [raw(b"{", b"x/y")]),
    "arrived: no argument": (SIGNAL_ARRIVED, []),
    "arrived: two arguments": (SIGNAL_ARRIVED, [{"event_id": "x"}, 1]),
    "arrived: garbage": (SIGNAL_ARRIVED, [raw(b"\xff\xfe")]),
    "unknown signal": ("no-such-signal", [1]),
}
_UPDATES: list[list[Any]] = [
    [],
    [{}, {}],
    [[1]],
    [None],
    [raw(b"{")],
    [raw(b'{"event_id":"\\ud800"}')],
    [raw(b"x", b"x/y")],
    [{"event_id": ["x"]}],
    [{"event_id": "x", "more": 1}],
]
_EVIDENCE: dict[str, list[Any]] = {
    "no argument": [],
    "two arguments": [[], []],
    "null": [None],
    "no items": [[{}, 1, None]],
}
_RELEASES: dict[str, list[Any]] = {
    "no argument": [],
    "two arguments": [{"event_id": "x"}, 1],
    "null": [None],
    "a list": [[1]],
    "no JSON": [raw(b"{")],
}


async def refused_start(around: Surroundings, workflow: str, id: str, arguments: list[Any]) -> str:
    """The type with which a start fails for good."""
    handle: WorkflowHandle[Any, Any] = await around.client.start_workflow(
        workflow, args=arguments, id=id, task_queue=around.queue
    )
    with pytest.raises(WorkflowFailureError) as failed:
        async with asyncio.timeout(20):
            await handle.result()
    assert await task_failures(handle) == []
    cause = failed.value.cause
    assert isinstance(cause, ApplicationError)
    return cause.type or ""


@pytest.mark.asyncio
@pytest.mark.parametrize("name", list(_STARTS))
async def test_an_order_that_is_none_ends_with_a_word(around: Surroundings, name: str) -> None:
    id = f"stop:{around.tenant_id}:{uuid.uuid4().hex[:8]}"
    assert await refused_start(around, STOP_WORKFLOW, id, _STARTS[name]) == "stop.bad_order"


@pytest.mark.asyncio
async def test_nobody_outside_carries_a_stop_over(around: Surroundings) -> None:
    """What a run hands to the next comes from that run alone: a stranger's would be anybody's stop."""
    request = around.request()
    info = ChargingStopInput(tenant_id=around.tenant_id, request=request)
    whole = Stop.ordered(info, "run", datetime.now(UTC)).model_dump(mode="json")
    id = f"stop:{around.tenant_id}:{request.business_key}"
    assert await refused_start(around, STOP_WORKFLOW, id, [{"carried": whole}]) == "stop.bad_order"


@pytest.mark.asyncio
@pytest.mark.parametrize("name", list(_STARTS))
async def test_a_session_that_is_none_ends_with_a_word(around: Surroundings, name: str) -> None:
    id = keeper_workflow_id(uuid.uuid4().hex)
    assert await refused_start(around, KEEPER_WORKFLOW, id, _STARTS[name]) == "keeper.bad_order"


@pytest.mark.asyncio
@pytest.mark.parametrize("name", list(_SIGNALS))
async def test_no_signal_wedges_a_stop(around: Surroundings, name: str) -> None:
    stop = await around.start()
    await stop.until(lambda v: v.phase is StopPhase.EN_ROUTE)
    signal, args = _SIGNALS[name]
    await stop.handle.signal(signal, args=args)
    await cancel(stop)
    assert (await stop.result()).outcome is StopOutcome.CANCELLED
    assert await task_failures(stop.handle) == []


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "update", [UPDATE_ARRIVED, UPDATE_PROBLEM, UPDATE_CANCEL, UPDATE_CHOOSE, UPDATE_APPROVE]
)
async def test_no_update_wedges_a_stop(around: Surroundings, update: str) -> None:
    stop = await around.start()
    await stop.until(lambda v: v.phase is StopPhase.EN_ROUTE)
    for args in _UPDATES:
        with pytest.raises(WorkflowUpdateFailedError) as refused:
            await stop.handle.execute_update(update, args=args)
        assert isinstance(refused.value.cause, ApplicationError)
        assert refused.value.cause.type == "message.unreadable"
    await cancel(stop)
    assert (await stop.result()).outcome is StopOutcome.CANCELLED
    assert await task_failures(stop.handle) == []


@pytest.mark.asyncio
async def test_one_unreadable_item_takes_no_other_with_it(around: Surroundings) -> None:
    """A gateway of tomorrow tells a kind that a pinned stop of today does not know, in one signal with what
    it does know. (Relay and stop run different versions while a roll-out lasts.)"""
    stop = await around.start()
    await arrive(stop)
    command = await stop.command(1)
    await stop.until(lambda v: v.phase is StopPhase.CHARGING)
    ended = heard(EvidenceKind.SESSION_ENDED, attempt_id=command.attempt_id, charger_id="c1", energy_kwh=30.0)
    tomorrow = {**ended.model_dump(mode="json"), "event_id": "t", "kind": "kind_of_tomorrow"}
    await stop.handle.signal(SIGNAL_EVIDENCE, [ended.model_dump(mode="json"), tomorrow])
    assert (await stop.result()).energy_kwh == 30.0


@pytest.mark.asyncio
async def test_a_cause_of_tomorrow_leaves_the_end_an_end(around: Surroundings) -> None:
    """A reason code that this version does not know; the sender's word is kept."""
    stop = await around.start()
    await arrive(stop)
    command = await stop.command(1)
    await stop.until(lambda v: v.phase is StopPhase.CHARGING)
    ended = heard(EvidenceKind.SESSION_ENDED, attempt_id=command.attempt_id, charger_id="c1", energy_kwh=30.0)
    tomorrow = {**ended.model_dump(mode="json"), "reason": "sustain.cause_of_tomorrow"}
    await stop.handle.signal(SIGNAL_EVIDENCE, [tomorrow])
    assert (await stop.result()).energy_kwh == 30.0


# --- keepers ----------------------------------------------------------------------------------------------


async def kept(around: Surroundings) -> tuple[StopHandle, WorkflowHandle[Any, Any], ChargerCommand]:
    """A closed stop whose session goes on, with its keeper."""
    around.charger.obeys_stop = False
    stop = await around.start()
    await arrive(stop)
    command = await stop.command(1)
    await stop.until(lambda v: v.phase is StopPhase.CHARGING)
    await cancel(stop)
    await stop.result()
    return stop, around.client.get_workflow_handle(keeper_workflow_id(command.attempt_id)), command


async def ends_calmly(
    around: Surroundings, keeper: WorkflowHandle[Any, Any], command: ChargerCommand
) -> None:
    await around.charger.say(command, EvidenceKind.SESSION_ENDED, energy_kwh=12.0)
    async with asyncio.timeout(30):
        await keeper.result()
    assert await task_failures(keeper) == []


@pytest.mark.asyncio
@pytest.mark.parametrize("name", list(_RELEASES))
async def test_no_update_wedges_a_keeper(around: Surroundings, name: str) -> None:
    _, keeper, command = await kept(around)
    with pytest.raises(WorkflowUpdateFailedError):
        await keeper.execute_update(UPDATE_RELEASE_SESSION, args=_RELEASES[name])
    await ends_calmly(around, keeper, command)


@pytest.mark.asyncio
@pytest.mark.parametrize("name", list(_EVIDENCE))
async def test_no_signal_wedges_a_keeper(around: Surroundings, name: str) -> None:
    _, keeper, command = await kept(around)
    await keeper.signal(SIGNAL_EVIDENCE, args=_EVIDENCE[name])
    await ends_calmly(around, keeper, command)
