"""Every action of every version, both ways: what a station gets for it, and whether we may send it."""

from __future__ import annotations

import json

import pytest

from connectors.ocpp.connection import TABLES, TOLD_BY_STATIONS
from connectors.ocpp.guards import Refused, check_call
from connectors.ocpp.wire.schemas import Json, Version, schemas_of
from tests.ocpp.conftest import Site
from tests.ocpp.schema_samples import sample

NOT_SERVED = {
    Version.V16: set[str](),
    Version.V201: {"Get15118EVCertificate", "GetCertificateStatus"},
    Version.V21: {
        "BatterySwap", "Get15118EVCertificate", "GetCertificateChainStatus", "GetCertificateStatus",
        "NotifyDERAlarm", "NotifyDERStartStop", "NotifySettlement", "ReportDERControl", "VatNumberValidation",
    },
}  # fmt: skip
"""What stations may say by the specification, and what needs a service that is not here."""
ACTIONS = [(version, action) for version in Version for action in sorted(schemas_of(version).actions)]
OURS = [
    (version, action)
    for version, action in ACTIONS
    if (action not in TABLES[version] and action not in NOT_SERVED[version]) or action == "DataTransfer"
]
THEIRS = [
    (version, action)
    for version, action in ACTIONS
    if action != "DataTransfer" and (version, action) not in OURS
]
STARTS = ("RemoteStartTransaction", "RequestStartTransaction")
HOST = "example.org"


def _word(name: str) -> str | None:
    return f"https://{HOST}/x" if name.lower().endswith(("location", "url")) else None


def check(version: Version, action: str, payload: Json, security_profile: int = 1) -> None:
    check_call(
        version,
        action,
        payload,
        incoming=TOLD_BY_STATIONS[version],
        transfer_hosts={HOST},
        security_profile=security_profile,
    )


def test_the_tables_name_only_what_the_version_has() -> None:
    for version, table in TABLES.items():
        assert set(table) <= schemas_of(version).actions
        assert TOLD_BY_STATIONS[version] == set(table) | NOT_SERVED[version]
    counts = {version: sum(1 for of, _ in ACTIONS if of is version) for version in Version}
    assert counts == {Version.V16: 39, Version.V201: 64, Version.V21: 91}, "90 and the SEND"


@pytest.mark.asyncio
@pytest.mark.parametrize("version", list(Version))
async def test_a_station_gets_one_answer_for_every_action(site: Site, version: Version) -> None:
    """Served: an answer that fits. Known, but not served or not a station's to say: NotSupported."""
    client, schemas = await site.connect(version), schemas_of(version)
    for action in sorted(schemas.actions):
        answer = await client.raw(json.dumps([2, action, action, sample(version, action, word=_word)]))
        assert answer[1] == action
        if action in TABLES[version] and schemas.answers(action):
            assert answer[0] == 3, answer
            schemas.check(action, answer[2], response=True)
        else:
            assert (answer[0], answer[2]) == (4, "NotSupported"), answer
    for unknown in ("NoSuchAction", "boot", "BootNotificationRequest", "Heartbeat "):
        answer = await client.raw(json.dumps([2, "a", unknown, {}]))
        assert answer[:3] == [4, "a", "NotImplemented"]


@pytest.mark.asyncio
@pytest.mark.parametrize("version", list(Version))
async def test_an_action_of_a_later_version_is_unknown(site: Site, version: Version) -> None:
    client = await site.connect(version)
    known = schemas_of(version).actions
    for action in sorted(schemas_of(Version.V21).actions | schemas_of(Version.V16).actions):
        if action not in known:
            answer = await client.raw(json.dumps([2, "a", action, {}]))
            assert answer[:3] == [4, "a", "NotImplemented"], action


@pytest.mark.parametrize(("version", "action"), OURS)
def test_ours_may_be_sent_or_are_refused_by_name(version: Version, action: str) -> None:
    payload = sample(version, action, word=_word)
    if action == "SetChargingProfile" and version is not Version.V16:
        payload["chargingProfile"]["chargingProfilePurpose"] = "TxDefaultProfile"
    if action in STARTS:
        with pytest.raises(Refused) as refused:
            check(version, action, payload)
        assert (refused.value.code, refused.value.detail != "") == ("NotSupported", True)
    else:
        check(version, action, payload)


@pytest.mark.parametrize(("version", "action"), OURS)
def test_an_address_that_is_not_on_the_list_is_refused_wherever_it_stands(
    version: Version, action: str
) -> None:
    full = sample(version, action, full=True, word=_word)
    if HOST not in json.dumps(full) or action in STARTS:
        return
    elsewhere = json.loads(json.dumps(full).replace(HOST, "elsewhere.example.net"))
    with pytest.raises(Refused) as refused:
        check(version, action, elsewhere)
    assert refused.value.code == "SecurityError" or action == "SetChargingProfile"


@pytest.mark.parametrize(("version", "action"), THEIRS)
def test_what_stations_say_cannot_be_sent(version: Version, action: str) -> None:
    with pytest.raises(Refused) as refused:
        check(version, action, sample(version, action))
    assert refused.value.code == "NotSupported"
    assert refused.value.detail


@pytest.mark.parametrize("version", list(Version))
def test_what_a_version_does_not_have_cannot_be_sent(version: Version) -> None:
    for action in ("NoSuchAction", "Reset ", "reset", ""):
        with pytest.raises(Refused) as refused:
            check(version, action, {})
        assert refused.value.code == "NotImplemented"
