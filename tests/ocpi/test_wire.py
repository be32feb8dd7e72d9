"""The wire models: nothing is lost, nothing unknown stops them, and what breaks the rules is named."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from connectors.ocpi.evidence import of_session, unit_slip
from connectors.ocpi.intake import faults_of
from connectors.ocpi.mapping import charger_id_for, chargers_of, status_of, terms_of
from connectors.ocpi.merge import merged, with_child
from connectors.ocpi.objects import Cdr, ChargingPeriod, CommandResult, Location, Session, Tariff
from connectors.ocpi.ports import LinkState, PartnerLink
from connectors.ocpi.tokens import authorization, presented
from connectors.ocpi.wire import CiString, Instant
from models.charger import Charger, ConnectorStatus, Protocol
from models.evidence import EvidenceKind
from tests.ocpi.test_sessions import session_body

LINK = PartnerLink(
    partner_id="p", tenant_id="t", state=LinkState.REGISTERED, token_ours_hash="x", name="Net",
    our_country_code="DE", our_party_id="BST", our_name="Backstop",
)  # fmt: skip


def location_body(**changes: Any) -> dict[str, Any]:
    connector = {
        "id": "A-left", "standard": "IEC_62196_T2", "format": "SOCKET", "power_type": "AC_3_PHASE",
        "max_voltage": 230, "max_amperage": 32, "last_updated": "2026-01-01T00:00:00.123Z",
        "x_vendor": [1, None],
    }  # fmt: skip
    return {
        "country_code": "be", "party_id": "bEc", "id": "LOC1", "publish": False,
        "address": "F.Rooseveltlaan 3A",
        "city": "Gent", "country": "BEL", "coordinates": {"latitude": "51.047599", "longitude": "3.729944"},
        "evses": [{"uid": "3256", "status": "ON_HOLIDAY", "connectors": [connector],
                   "last_updated": "2026-01-01T00:00:00"}],
        "time_zone": "Europe/Brussels", "gireve_id": "kept", "last_updated": "2026-01-01T00:00:00Z",
    } | changes  # fmt: skip


def test_what_was_read_goes_out_unchanged() -> None:
    body = location_body()
    assert Location.model_validate(body).dump() == body
    cdr = session_body("r", status="ODD", total_cost={"excl_vat": 0.1, "incl_vat": None}, kwh=41.12)
    assert Session.model_validate(cdr).dump() == cdr


def test_text_keeps_its_case() -> None:
    assert str(CiString("AbC")) == "AbC"


@pytest.mark.parametrize("text", ["2015-06-29T20:39:09Z", "2015-06-29T20:39:09", "2015-06-29T22:39:09+02:00"])
def test_times_are_utc(text: str) -> None:
    assert Instant(text).at == datetime(2015, 6, 29, 20, 39, 9, tzinfo=UTC)


def test_faults_name_fields_and_no_values() -> None:
    with pytest.raises(ValidationError) as caught:
        Session.model_validate(session_body("r", kwh="secret-text", last_updated="nonsense"))
    said = faults_of(caught.value)
    assert "kwh" in said
    assert "last_updated" in said
    assert "secret-text" not in said


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from([Session, Location, Tariff, Cdr, CommandResult]), st.data())
def test_no_input_breaks_more_than_its_own_object(kind: type[BaseModel], data: st.DataObject) -> None:
    fields = list(kind.model_fields)
    body = data.draw(st.dictionaries(st.sampled_from(fields) | st.text(max_size=8), JSON, max_size=12) | JSON)
    said = "fits"
    try:
        kind.model_validate(body)
    except ValidationError as error:
        said = faults_of(error)
    assert said


@given(st.text(max_size=80), st.text(max_size=80))
def test_charger_ids_fit_and_stay_apart(one: str, other: str) -> None:
    first, second = charger_id_for("DE", "RBX", one, "1"), charger_id_for("DE", "RBX", other, "1")
    assert (first == second) == (one == other)
    [(charger, _)] = chargers_of(LINK, Location.model_validate(location_body()), {})
    assert Charger.model_validate(charger.model_dump() | {"charger_id": first}).charger_id == first


def test_a_location_becomes_chargers() -> None:
    [(charger, address)] = chargers_of(LINK, Location.model_validate(location_body()), {})
    assert (charger.charger_id, address.connector_id) == ("BE*BEC*3256*A-left", "A-left")
    assert charger.status is ConnectorStatus.UNKNOWN
    assert charger.power_kw == pytest.approx(22.08)
    assert charger.protocol is Protocol.OCPI
    body = location_body()
    body["evses"][0]["capabilities"] = ["RFID_READER"]
    [(charger, _)] = chargers_of(LINK, Location.model_validate(body), {})
    assert charger.protocol is Protocol.NONE
    assert status_of("BLOCKED") is ConnectorStatus.OCCUPIED


def tariff(*elements: dict[str, Any], **more: Any) -> Tariff:
    body = {"country_code": "DE", "party_id": "RBX", "id": "T", "currency": "EUR", "elements": list(elements),
            "last_updated": "2026-01-01T00:00:00Z"}  # fmt: skip
    return Tariff.model_validate(body | more)


def price(kind: str, amount: float) -> dict[str, Any]:
    return {"price_components": [{"type": kind, "price": amount, "step_size": 1}]}


def test_simple_tariffs_become_terms_and_others_none() -> None:
    terms = terms_of(
        tariff(price("ENERGY", 0.39), price("FLAT", 0.5), price("PARKING_TIME", 6), price("FLAT", 9))
    )
    assert terms is not None
    assert (terms.energy_per_kwh, terms.session_fee, terms.occupation_per_hour) == (
        Decimal("0.39"), Decimal("0.5"), Decimal(6),
    )  # fmt: skip
    assert terms_of(tariff(price("TIME", 2))) is None
    assert terms_of(tariff(price("ENERGY", 1) | {"restrictions": {"max_kwh": 5}})) is None
    assert terms_of(tariff(price("ENERGY", 1), min_price={"excl_vat": 1})) is None


def test_evidence_repeats_itself_exactly() -> None:
    session = Session.model_validate(session_body("r", kwh=3.5))
    assert of_session(session, "a", 60) == of_session(session, "a", 60)
    reserved = Session.model_validate(session_body("r", status="RESERVATION"))
    assert of_session(reserved, "a", 60) == []
    done = of_session(Session.model_validate(session_body("r", status="COMPLETED")), "a", 60)
    assert [item.kind for item in done] == [EvidenceKind.SESSION_ENDED]


def test_units_that_slip_are_seen() -> None:
    wh = [ChargingPeriod.model_validate({"start_date_time": "2026-01-01T00:00:00Z",
                                         "dimensions": [{"type": "ENERGY", "volume": 41000}]})]  # fmt: skip
    assert unit_slip(wh, Decimal("41.12"))
    assert not unit_slip(wh, Decimal(40000))
    assert not unit_slip(None, Decimal(1))


def test_patches_append_once_and_raise_the_parent() -> None:
    stored = {"charging_periods": [1], "kwh": 1}
    once = merged(stored, {"charging_periods": [2]}, appends="charging_periods")
    assert once["charging_periods"] == [1, 2]
    assert merged(once, {"charging_periods": [2]}, appends="charging_periods") == once
    parent = {"evses": [{"uid": "A"}, {"uid": "B"}], "last_updated": "2026-01-01T00:00:00Z"}
    changed = with_child(parent, "evses", "uid", {"uid": "a", "last_updated": "2026-02-01T00:00:00Z"})
    assert [item["uid"] for item in changed["evses"]] == ["a", "B"]
    assert changed["last_updated"] == "2026-02-01T00:00:00Z"


@given(st.binary(max_size=60))
def test_any_header_is_read_or_not(raw: bytes) -> None:
    presented("Token " + raw.decode("latin-1"))
    presented(raw.decode("latin-1"))


def test_headers_carry_the_token() -> None:
    assert "abc" in presented(authorization("abc"))
    assert presented(authorization("abc", raw=True))[0] == "abc"
