"""Whatever a caller writes and validates can be kept, hashed, sent and reckoned with; what cannot is refused,
by field."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError

from models.base import MOST_CHARACTERS, PlannedInstant, StrictMessage, UtcDatetime
from models.policy import Policy
from models.stop import (
    Approval,
    ArrivalReport,
    CancelRequest,
    ChargingStopInput,
    ChooseCharger,
    ProblemReport,
    StopRequest,
)
from tests.models.odd_values import BAD_TEXT, ODD_INSTANTS, ODD_NUMBERS, REQUEST, is_harmless, parts_of

Document = dict[str, Any]
_SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]

_POLICY: Document = {
    **Policy().model_dump(mode="json"),
    "preferred_networks": [{"region": "DE", "contract": "c", "networks": ["a", "b"], "only": True}],
}
SAID: list[tuple[type[BaseModel], Document]] = [
    (StopRequest, REQUEST),
    (ChargingStopInput, {"tenant_id": "demo", "request": REQUEST}),
    (ArrivalReport, {"event_id": "e", "charger_id": "c", "at": "2026-11-21T08:00:00Z"}),
    (ProblemReport, {"event_id": "e", "kind": "broken", "charger_id": "c", "note": "dark"}),
    (CancelRequest, {"event_id": "e", "by": "driver", "note": "home"}),
    (ChooseCharger, {"event_id": "e", "charger_id": "c", "by": "fleet"}),
    (Approval, {"event_id": "e", "approved": True, "charger_id": "c"}),
    (Policy, _POLICY),
]

_NASTY: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from(
        [*BAD_TEXT, *ODD_NUMBERS, *ODD_INSTANTS, None, [], {}, [[[[]]]], ["\0"], {"\0": "\ud800"}]
    ),
    st.text(max_size=12),
    st.text(st.characters(codec=None), max_size=5),
    st.floats(),
    st.integers(),
    st.datetimes(timezones=st.timezones() | st.just(UTC)),
    st.decimals(),
)


def _paths(document: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if above:
        yield above
    for name, value in parts_of(document).items():
        yield from _paths(value, (*above, name))


def _changed(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    parts = {**parts_of(document), path[0]: _changed(document[path[0]], path[1:], value)}
    return list(parts.values()) if isinstance(document, list) else parts


@st.composite
def broken(draw: st.DrawFn, document: Document) -> Document:
    """A good document with up to two values, anywhere in it, exchanged for bad ones."""
    for _ in range(draw(st.integers(1, 2))):
        path = draw(st.sampled_from(list(_paths(document))))
        document = _changed(document, path, draw(_NASTY))
    return document


@pytest.mark.parametrize(("kind", "good"), SAID, ids=[kind.__name__ for kind, _ in SAID])
def test_what_validates_can_be_kept_and_reckoned_with(
    kind: type[BaseModel], good: Document, jsonb: Callable[[str], Any]
) -> None:
    is_harmless(kind.model_validate(good), jsonb)
    seen = {"kept": 0, "refused": 0}

    # The same samples each time: how many are kept is asserted below.
    @settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=_SLOW)
    @given(broken(good))
    def any_of_it(document: Document) -> None:
        for read in (
            lambda: kind.model_validate(document),
            lambda: kind.model_validate_json(json.dumps(document, default=str)),
        ):
            try:
                message = read()
            except ValidationError:
                seen["refused"] += 1
                continue
            seen["kept"] += 1
            is_harmless(message, jsonb)

    any_of_it()
    assert min(seen.values()) > 10, f"the samples are one-sided: {seen}"


@pytest.mark.parametrize(("kind", "good"), SAID, ids=[kind.__name__ for kind, _ in SAID])
def test_no_string_of_a_caller_holds_what_cannot_be_kept(kind: type[BaseModel], good: Document) -> None:
    """Every string of every message, also in lists and below; the error names the field."""
    tried = 0
    for path in _paths(good):
        if not isinstance(_at(good, path), str):
            continue
        for bad in BAD_TEXT:
            tried += 1
            if path[-1] == "note" and "\n" in bad:
                continue  # a person's note may have lines; it is kept on one
            with pytest.raises(ValidationError) as refused:
                kind.model_validate(_changed(good, path, bad))
            assert [error["loc"][0] for error in refused.value.errors()] == [path[0]]
    assert tried >= len(BAD_TEXT)


def test_a_note_of_several_lines_is_kept_on_one() -> None:
    report = ProblemReport.model_validate(
        {"event_id": "e", "kind": "other", "note": "no light\r\n\tno power"}
    )
    assert report.note == "no light no power"


def _at(document: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        document = document[step]
    return document


def test_a_refusal_says_which_field_and_which_character() -> None:
    with pytest.raises(ValidationError) as refused:
        StopRequest.model_validate({**REQUEST, "contract": "DE\0X"})
    error = refused.value.errors()[0]
    assert error["loc"] == ("contract",)
    assert "U+0000 at 2" in error["msg"]


def test_other_peoples_json_in_a_message_may_have_lines() -> None:
    class Carrier(StrictMessage):
        payload: dict[str, Any] = {}
        words: tuple[str, ...] = ()

    certificate = "-----BEGIN CERTIFICATE-----\n" + "A" * 5_000
    assert Carrier(payload={"certificate": certificate}).payload["certificate"] == certificate
    deep: Any = "\0"
    for _ in range(50_000):
        deep = [deep]
    for bad in ({"a": "\0"}, {"\ud800": 1}, {"a": [{"b": "\x1b"}]}, {"a": deep}):
        with pytest.raises(ValidationError):
            Carrier(payload=bad)
    with pytest.raises(ValidationError):
        Carrier(words=("x" * (MOST_CHARACTERS + 1),))


@pytest.mark.parametrize("text", [instant for instant in ODD_INSTANTS if instant != "2026-11-21T08:00:00"])
def test_instants_are_refused_never_broken(text: object) -> None:
    for kind in (UtcDatetime, PlannedInstant):
        try:
            at: datetime = TypeAdapter(kind).validate_python(text)
        except ValidationError:
            continue
        assert at - timedelta(days=365) < at < at + timedelta(days=365)


@pytest.mark.parametrize(
    ("text", "planned"),
    [("1970-01-01T00:00:00Z", False), ("1999-12-31T23:59:59Z", False), ("2000-01-01T00:00:00Z", True),
     ("2100-01-01T00:00:00Z", True), ("2100-01-01T00:00:01Z", False), ("2200-01-01T00:00:00Z", False)],
)  # fmt: skip
def test_the_ends_of_the_calendar(text: str, planned: bool) -> None:
    assert TypeAdapter(UtcDatetime).validate_python(text).tzinfo is UTC
    if planned:
        TypeAdapter(PlannedInstant).validate_python(text)
    else:
        with pytest.raises(ValidationError):
            TypeAdapter(PlannedInstant).validate_python(text)


def test_the_version_of_a_policy_is_the_hash_of_what_was_written() -> None:
    """A finer price than can be kept is refused; none is rounded behind the caller's back."""
    assert Policy().version == Policy.model_validate(Policy().model_dump(mode="json")).version
    for name in ("cost_ceiling", "value_of_time_per_hour", "stranding_cost"):
        for value in ("0.0000000000001", "-1", "1e10", "NaN", float("inf")):
            with pytest.raises(ValidationError):
                Policy.model_validate({name: value})
