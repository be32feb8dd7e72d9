"""What an operator sees of a station's frames: no token and no password, whatever message they stand in."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.ocpp.redaction import masked, shown
from connectors.ocpp.wire.schemas import Version, schemas_of
from tests.ocpp.schema_samples import sample

SECRET = "S3CRET-c0ffee"
SECRETS = frozenset(
    {
        "idTag", "parentIdTag", "idToken", "idTokens", "additionalIdToken", "password", "basicAuthPassword",
        "apnPassword", "csr", "customerIdentifier",
    }
)  # fmt: skip
SAMPLES = [
    (version, action, response)
    for version in Version
    for action in sorted(schemas_of(version).actions)
    for response in (False, True)
    if not response or schemas_of(version).answers(action)
]


def frame(payload: Any, action: str = "DataTransfer") -> str:
    return json.dumps([2, "an-id", action, payload])


@pytest.mark.parametrize("version", list(Version))
def test_no_schemas_secret_is_shown(version: Version) -> None:
    held: set[str] = set()

    def word(name: str) -> str | None:
        if name in SECRETS:
            held.add(name)
            return SECRET
        return None

    for of, action, response in SAMPLES:
        if of is version:
            payload = sample(version, action, response=response, full=True, word=word)
            text = shown(json.dumps([3, "an-id", payload] if response else [2, "an-id", action, payload]))
            assert SECRET not in text, action
    assert held >= ({"idTag", "parentIdTag", "csr"} if version is Version.V16 else {"idToken", "password"})


@pytest.mark.parametrize("version", [Version.V201, Version.V21])
def test_a_network_profiles_keys_and_pins_are_masked(version: Version) -> None:
    payload = sample(
        version, "SetNetworkProfile", full=True, word=lambda name: SECRET if name == "key" else None
    )
    payload["connectionData"]["apn"]["simPin"] = 47114711
    text = shown(frame(payload, "SetNetworkProfile"))
    assert SECRET not in text
    assert "47114711" not in text


@pytest.mark.parametrize(
    "payload",
    [
        {"key": "AuthorizationKey", "value": SECRET},
        {"key": "authorizationkey", "value": SECRET},
        {"configurationKey": [{"key": "AuthorizationKey", "readonly": False, "value": SECRET}]},
        {"setVariableData": [{"variable": {"name": "BasicAuthPassword"}, "attributeValue": SECRET}]},
        {"getVariableResult": [{"variable": {"name": "BASICAUTHPASSWORD"}, "attributeValue": SECRET}]},
        {
            "reportData": [
                {"variable": {"name": "BasicAuthPassword"}, "variableAttribute": [{"value": SECRET}]}
            ]
        },
        {"eventData": [{"variable": {"name": "SharedSecret"}, "actualValue": SECRET}]},
        {"eventData": [{"variable": {"name": "MasterPassGroupId"}, "actualValue": SECRET}]},
        {"idTag": [SECRET]},
        {"idTag": [[{"idTag": SECRET}]]},
        {"IdTag": SECRET},
        {"idToken": {"idToken": SECRET, "additionalInfo": [{"additionalIdToken": SECRET, "type": "x"}]}},
        {"location": f"ftp://user:{SECRET}@example.org/logs"},
        {"location": f"ftp://user:{SECRET}/?{SECRET}@example.org/logs"},
        {"location": f"https://example.org/logs?signature={SECRET}"},
        {"vendorId": "V", "messageId": "Authorize", "data": json.dumps({"idToken": {"idToken": SECRET}})},
        {"vendorId": "V", "data": json.dumps([json.dumps({"idTag": SECRET})])},
    ],
)
def test_secrets_in_odd_places_are_masked(payload: Any) -> None:
    assert SECRET not in shown(frame(payload))
    assert SECRET not in json.dumps(masked(payload))


def test_a_token_that_is_no_text_is_masked() -> None:
    assert "4711" not in shown(frame({"idTag": 4711}))


def test_what_the_station_knows_of_a_customer_is_not_shown() -> None:
    text = frame({"data": SECRET, "seqNo": 0, "requestId": 1}, "NotifyCustomerInformation")
    assert SECRET not in shown(text)
    assert "NotifyCustomerInformation" in shown(text)


def test_what_is_no_secret_is_shown_as_it_came() -> None:
    payload = {
        "key": ["HeartbeatInterval"],
        "value": "60",
        "location": "https://example.org/firmware/1.bin",
        "status": "Accepted",
        "list": [1, 2.5, None, True, {"key": {}, "variable": [], "name": "x"}],
    }
    assert json.loads(shown(frame(payload))) == [2, "an-id", "DataTransfer", payload]


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("hello", "hello"),
        ("x" * 300, "x" * 200),
        (f'[2, "1", "Authorize", {{"idTag": "{SECRET}"', '[2, "1", "Authorize", '),
        (f'{{"idTag": "{SECRET}"', ""),
        ("<binary>", "<binary>"),
        ("[" * 100_000 + "]" * 100_000, "[" * 200),
        ("[" * 900 + "]" * 900, "[" * 200),
    ],
)
def test_what_is_no_frame_is_shown_up_to_its_payload(text: str, seen: str) -> None:
    assert shown(text) == seen


_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["key", "value", "variable", "name", "idTag", "idToken", "data", "server"]), inner
        ),
    ),
    max_leaves=15,
)


@given(_values)
def test_no_frame_whatever_breaks_the_view(value: Any) -> None:
    """Was a bug: a GetConfiguration of a watched 1.6 station ended in a TypeError, and its CALL with it."""
    assert len(shown(json.dumps(value))) <= 6_000
    shown(json.dumps([2, "an-id", value, value]))
