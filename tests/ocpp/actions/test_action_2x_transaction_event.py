"""TransactionEvent, 2.x: started, updated, ended, in any order; a token is answered where one was shown."""

from __future__ import annotations

import json
from itertools import permutations
from typing import Any

import pytest

from connectors.ocpp.wire.schemas import Json
from models.charger import ConnectorStatus
from models.evidence import EvidenceKind
from models.ids import remote_start_id_for
from models.reason_codes import ReasonCode
from tests.ocpp.actions.action_log import V2, ago, status
from tests.ocpp.conftest import Client, Site
from tests.ocpp.truth_site import row, rows

KINDS = ("Started", "Updated", "Ended")


class Story:
    """One session of 4 kWh, as three events."""

    def __init__(self, attempt_id: str) -> None:
        self.remote = remote_start_id_for(attempt_id)
        self.times = dict(zip(KINDS, (ago(120), ago(60), ago(5)), strict=True))

    def event(self, kind: str, info: Json | None = None, **changes: Any) -> Json:
        number = KINDS.index(kind)
        sampled = [{"value": 5_000 + 2_000 * number, "measurand": "Energy.Active.Import.Register"}]
        state = {"stoppedReason": "EVDisconnected"} if kind == "Ended" else {"chargingState": "Charging"}
        return {
            "eventType": kind, "timestamp": self.times[kind], "seqNo": number,
            "triggerReason": ("RemoteStart", "MeterValuePeriodic", "EVDeparted")[number],
            "transactionInfo": {"transactionId": "tx", "remoteStartId": self.remote, **state, **(info or {})},
            "evse": {"id": 1, "connectorId": 1},
            "meterValue": [{"timestamp": self.times[kind], "sampledValue": sampled}], **changes,
        }  # fmt: skip


async def tell(client: Client, event: Json) -> Json:
    return await client.call("TransactionEvent", event)


@pytest.mark.asyncio
@pytest.mark.parametrize("version", V2)
@pytest.mark.parametrize("order", list(permutations(KINDS)), ids=lambda order: "-".join(order))
async def test_a_session_told_in_any_order_is_one_transaction(
    site: Site, version: str, order: tuple[str, ...]
) -> None:
    attempt_id = await site.attempt()
    story, client = Story(attempt_id), await site.connect(version)
    for kind in order:
        assert await tell(client, story.event(kind)) == {}
        assert await tell(client, story.event(kind)) == {}
    found = await row(site)
    assert (found.energy_wh, found.attempt_id) == (4_000, attempt_id)
    assert found.reason == "ocpp2.0.1:EVDisconnected"
    assert len(site.sink.of(EvidenceKind.SESSION_STARTED)) == 1
    told = site.sink.of(EvidenceKind.SESSION_ENDED)[-1]
    assert (told.reason, told.session_ref) == (ReasonCode.SUSTAIN_UNPLUGGED_EARLY, "tx")
    if order == KINDS:
        assert told.energy_kwh == 4.0


@pytest.mark.asyncio
@pytest.mark.parametrize("version", V2)
async def test_a_token_is_answered_where_one_was_shown(site: Site, version: str) -> None:
    story, client = Story(await site.attempt("TAG1")), await site.connect(version)
    shown = {"idToken": {"idToken": "TAG1", "type": "Central"}}
    assert await tell(client, story.event("Started", **shown)) == {"idTokenInfo": {"status": "Accepted"}}
    assert await tell(client, story.event("Updated")) == {}
    stranger = story.event("Started", {"transactionId": "other", "remoteStartId": 5})
    stranger |= {"idToken": {"idToken": "STRANGER", "type": "Central"}, "evse": {"id": 2}}
    assert await tell(client, stranger) == {"idTokenInfo": {"status": "Unknown"}}
    assert len(await rows(site)) == 2


@pytest.mark.asyncio
@pytest.mark.parametrize("version", V2)
async def test_a_suspension_and_its_state_are_told(site: Site, version: str) -> None:
    story, client = Story(await site.attempt()), await site.connect(version)
    occupied = {"evseId": 1, "connectorId": 1, "connectorStatus": "Occupied", "timestamp": ago(200)}
    await client.call("StatusNotification", occupied)
    await tell(client, story.event("Started"))
    await tell(client, story.event("Updated", {"chargingState": "SuspendedEVSE"}))
    assert len(site.sink.of(EvidenceKind.SUSPENDED_BY_CHARGER)) == 1
    assert await status(site) is ConnectorStatus.OCCUPIED


@pytest.mark.asyncio
@pytest.mark.parametrize("version", V2)
@pytest.mark.parametrize(
    "changes",
    [
        {"triggerReason": "BecauseISaySo"},
        {"seqNo": "three"},
        {"timestamp": None},
        {"meterValue": "none"},
        {"evse": "the left one"},
        {"idToken": {"idToken": "T" * 300, "type": "Own"}},
        {"offline": "yes"},
    ],
)
async def test_what_can_be_read_of_an_end_ends_it(site: Site, version: str, changes: Json) -> None:
    story, client = Story(await site.attempt()), await site.connect(version)
    await tell(client, story.event("Started"))
    await tell(client, story.event("Ended", **changes))
    assert (await row(site)).ended_at is not None


@pytest.mark.asyncio
@pytest.mark.parametrize("version", V2)
@pytest.mark.parametrize("changes", [{"transactionInfo": {}}, {"eventType": "Perhaps"}])
async def test_without_its_essentials_it_is_refused(site: Site, version: str, changes: Json) -> None:
    story, client = Story("attempt"), await site.connect(version)
    body = {**story.event("Started"), **changes}
    answer = await client.raw(json.dumps([2, "a", "TransactionEvent", body]))
    assert answer[:2] == [4, "a"]
    assert await rows(site) == []
