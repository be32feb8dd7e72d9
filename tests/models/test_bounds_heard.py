"""What peers say is cleaned or left out, never a reason to lose the rest; money stays money."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from models.base import clean_text
from models.charger import Charger, ConnectorHealth, TariffTerms
from models.commands import CommandReply
from models.evidence import Evidence
from models.money import MOST_MONEY, MOST_OF_ONE_SESSION, MOST_PER_UNIT, Money
from models.vehicle import VehicleModel
from planning.price import price_session
from tests.models.odd_values import BAD_TEXT, ODD_INSTANTS, ODD_NUMBERS, is_harmless

Document = dict[str, Any]
_SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]
_GONE = "\N{REPLACEMENT CHARACTER}"


_HEARD: Document = {
    "event_id": "ocpi:1", "source": "ocpi", "kind": "session_started", "observed_at": "2026-11-21T08:00:00Z",
    "attempt_id": "a-1", "charger_id": "c-1", "session_ref": "s-1", "energy_kwh": 1.5, "power_kw": 11.0,
    "soc_percent": 40.0, "distance_km": 3.0, "heard_at": "2026-11-21T08:00:00Z", "idle_minutes": "3.5",
    "cost": {"amount": "4.20", "currency": "EUR"}, "vendor_code": "session:ACTIVE", "detail": "said so",
}  # fmt: skip
_MAY_BE_ODD = sorted(set(_HEARD) - {"source", "kind", "observed_at"})
_ODD_OF: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(
        ("event_id", "attempt_id", "charger_id", "session_ref", "vendor_code", "detail"),
        st.sampled_from(BAD_TEXT) | st.text(st.characters(codec=None), min_size=1, max_size=300),
    ),
    **dict.fromkeys(
        ("energy_kwh", "power_kw", "soc_percent", "distance_km", "idle_minutes"),
        st.sampled_from(ODD_NUMBERS) | st.floats() | st.decimals() | st.integers(),
    ),
    "heard_at": st.sampled_from(ODD_INSTANTS) | st.datetimes(timezones=st.timezones()),
    "cost": st.fixed_dictionaries(
        {
            "amount": st.sampled_from(ODD_NUMBERS) | st.decimals(),
            "currency": st.sampled_from(["EUR", "eur", "\0"]),
        }
    ),
}


def test_a_start_is_a_start_whatever_else_is_said(jsonb: Callable[[str], Any]) -> None:
    @settings(max_examples=300, deadline=None, suppress_health_check=_SLOW)
    @given(st.fixed_dictionaries({}, optional=_ODD_OF))
    def any_of_it(odd: Document) -> None:
        heard = Evidence.model_validate({**_HEARD, **odd})
        assert (heard.kind, heard.source) == ("session_started", "ocpi")
        is_harmless(heard, jsonb)
        for name in set(_MAY_BE_ODD) - set(odd) - {"detail"}:
            assert getattr(heard, name) is not None, "only what cannot be is left out"
        for name in odd:
            if getattr(heard, name) is None:
                assert f"{name} out of bounds" in heard.detail

    any_of_it()


@pytest.mark.parametrize(
    ("name", "value"),
    [("energy_kwh", 5_000.1), ("energy_kwh", -0.1), ("energy_kwh", float("nan")), ("power_kw", 1e6),
     ("soc_percent", 101), ("distance_km", 40_101), ("idle_minutes", Decimal("1e7")), ("idle_minutes", "NaN"),
     ("cost", Money(amount=Decimal(-1))), ("cost", Money(amount=MOST_OF_ONE_SESSION + 1)),
     ("cost", {"amount": "1e999999999", "currency": "EUR"}), ("cost", {"amount": 1, "currency": "eur"}),
     ("heard_at", "9999-12-31T23:59:59-14:00"), ("session_ref", "a\0"), ("attempt_id", "x" * 256)],
)  # fmt: skip
def test_a_figure_beyond_physics_or_money_is_left_out_and_marked(name: str, value: object) -> None:
    heard = Evidence.model_validate({**_HEARD, name: value})
    assert getattr(heard, name) is None
    assert heard.detail.startswith(f"said so; {name} out of bounds: ")
    assert heard.model_copy(
        update={name: getattr(Evidence.model_validate(_HEARD), name), "detail": "said so"}
    ) == (Evidence.model_validate(_HEARD)), "and nothing else is"
    assert Evidence.model_validate(heard.model_dump(mode="json")) == heard


@pytest.mark.parametrize(
    ("name", "value"),
    [("energy_kwh", 5_000), ("energy_kwh", 0), ("power_kw", -50), ("soc_percent", 100), ("soc_percent", 0),
     ("cost", Money(amount=MOST_OF_ONE_SESSION)), ("session_ref", "x" * 255)],
)  # fmt: skip
def test_what_is_within_bounds_is_kept_as_it_is(name: str, value: object) -> None:
    heard = Evidence.model_validate({**_HEARD, name: value})
    assert getattr(heard, name) == value
    assert heard.detail == "said so"


def test_evidence_without_a_time_that_can_be_true_is_none() -> None:
    for observed_at in ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59-14:00", "2300-01-01T00:00:00Z"):
        with pytest.raises(ValidationError):
            Evidence.model_validate({**_HEARD, "observed_at": observed_at})


def test_two_event_ids_stay_two_and_a_repeat_stays_one() -> None:
    def kept(event_id: str) -> str:
        return Evidence.model_validate({**_HEARD, "event_id": event_id}).event_id

    odd = [
        "ocpi:a\0",
        "ocpi:a\x01",
        "ocpi:a\ud800",
        "ocpi:" + "x" * 500,
        "ocpi:" + "x" * 501,
        "ocpi:a" + _GONE,
    ]
    ids = [kept(event_id) for event_id in odd]
    assert len(set(ids)) == len(odd)
    assert ids == [kept(event_id) for event_id in odd] == [kept(event_id) for event_id in ids]
    assert all(event_id.startswith("ocpi:") and len(event_id) <= 200 for event_id in ids)


def test_a_session_id_is_never_cleaned_into_another() -> None:
    reply = CommandReply.model_validate(
        {"outcome": "accepted", "session_ref": "a\0", "vendor_code": "\0" + "x" * 900, "detail": "d\x1b"}
    )
    assert reply.session_ref is None
    assert reply.detail == f"d{_GONE}; session_ref out of bounds: 'a{_GONE}'"
    assert len(reply.vendor_code) == 200
    assert reply.vendor_code.startswith(f"{_GONE}x")


def test_a_cut_text_equals_no_whole_one() -> None:
    name = "n" * 300
    assert clean_text(name, 200) != name[:200]
    assert len(clean_text(name, 200)) == 200
    assert clean_text("plain", 200) == "plain"


_CHARGER: Document = {
    "charger_id": "c-1", "site_id": "s-1", "operator": "O", "network": "N", "region": "DE-NW",
    "place": {"latitude": 51.2, "longitude": 6.8}, "protocol": "ocpi", "station_id": "LOC1", "evse_uid": "E1",
    "standard": "IEC_62196_T2_COMBO", "power_kw": 50.0, "status_at": "2026-11-21T08:00:00Z",
    "tariff": {"energy_per_kwh": "0.5"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [("operator", "a\0b", f"a{_GONE}b"), ("network", "\ud800", _GONE),
     ("region", "x" * 201, "x" * 199 + "\N{HORIZONTAL ELLIPSIS}"),
     ("status_at", "9999-12-31T23:59:59Z", None),
     ("status_at", "0001-01-01T00:00:00+14:00", None), ("tariff", {"energy_per_kwh": "-1"}, None),
     ("tariff", {"session_fee": "1e999"}, None), ("tariff", {"occupation_per_hour": "NaN"}, None)],
)  # fmt: skip
def test_a_charger_with_odd_words_is_still_a_charger(name: str, value: object, kept: object) -> None:
    assert getattr(Charger.model_validate({**_CHARGER, name: value}), name) == kept


@pytest.mark.parametrize(
    ("name", "value"),
    [("station_id", "a\0"), ("evse_uid", "\x1b"), ("evse_uid", "x" * 256), ("power_kw", 10_001),
     ("power_kw", float("inf")), ("connector_number", 2**31), ("tariff", {"currency": "euro"}),
     ("status_at", "yesterday")],
)  # fmt: skip
def test_an_address_that_cannot_be_said_back_makes_no_charger(name: str, value: object) -> None:
    with pytest.raises(ValidationError):
        Charger.model_validate({**_CHARGER, name: value})


def test_a_line_that_lies_about_its_clock_is_still_a_line() -> None:
    health = ConnectorHealth.model_validate(
        {"connected": True, "seen_at": datetime(9999, 1, 1, tzinfo=UTC), "fault_code": "Over\0heat"}
    )
    assert (health.seen_at, health.fault_code) == (None, f"Over{_GONE}heat")


def test_a_battery_of_nothing_is_no_battery() -> None:
    good: Document = {"model_id": "m", "name": "M", "battery_usable_kwh": 60, "connectors": ["CHADEMO"]}
    VehicleModel.model_validate(good)
    for name, value in (
        ("battery_usable_kwh", 5e-324), ("consumption_kwh_per_100_km", 1e-300), ("dc_max_power_kw", 1e6),
        ("ac_max_power_kw", float("inf")), ("dc_curve", [{"soc_percent": 10, "power_kw": float("nan")}]),
    ):  # fmt: skip
        with pytest.raises(ValidationError):
            VehicleModel.model_validate({**good, name: value})


@given(st.decimals(-MOST_MONEY, MOST_MONEY, allow_nan=False))
def test_money_has_twelve_decimals_and_can_be_rounded(amount: Decimal) -> None:
    money = Money(amount=amount)
    exponent = money.amount.as_tuple().exponent
    assert isinstance(exponent, int)
    assert exponent >= -12
    assert abs(money.amount - amount) <= Decimal("5e-13")
    assert Money.model_validate_json(money.model_dump_json()) == money
    assert abs(money.rounded().amount - amount) < 1


@pytest.mark.parametrize("amount", ["1e13", "-1e13", "NaN", "Infinity", "1e999999999"])
def test_money_beyond_sense_is_refused(amount: str) -> None:
    with pytest.raises(ValidationError):
        Money(amount=Decimal(amount))


def test_what_a_stop_can_add_up_to_is_money() -> None:
    """The dearest tariff, the longest occupation and the most attempts that the bounds allow."""
    dearest = TariffTerms(
        energy_per_kwh=MOST_PER_UNIT, session_fee=MOST_OF_ONE_SESSION, occupation_per_hour=MOST_PER_UNIT
    )
    total = session = price_session(dearest, 5_000, 366 * 24 * 3600)
    for _ in range(9):
        total = total.plus(session)
    assert total.amount == session.amount * 10
