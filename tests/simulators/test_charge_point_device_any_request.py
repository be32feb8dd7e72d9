"""Whatever request fits its schema, the device answers it, with an answer that fits its schema too."""

from __future__ import annotations

import json
from datetime import timedelta
from importlib.resources import files
from typing import Any

import pytest
from charge_point_bench import FOLDERS, START, Bench
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simulators.charge_point.device_state import stamp

times = st.integers(-5000, 5000).map(lambda s: stamp(START + timedelta(seconds=s)))
# Small numbers and few words, so that requests meet what earlier ones left behind.
words = st.sampled_from(["TAG", "OTHER", "7", "HeartbeatInterval", "OCPPCommCtrlr", "https://x.example/"])


def mended(profile: dict[str, Any]) -> dict[str, Any]:
    """Schedule and kind agree, and it is a default, which needs no transaction."""
    found = profile["chargingSchedule"]
    schedule = found[0] if isinstance(found, list) else found
    schedule.pop("startSchedule", None)
    if profile["chargingProfileKind"] != "Relative":
        schedule["startSchedule"] = stamp(START)
    return {**profile, "chargingProfilePurpose": "TxDefaultProfile", "recurrencyKind": "Daily"}


def likely(name: str, schema: dict[str, Any], anything: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Some fields are mostly given what the device can take; else nearly all would be refused."""
    if name == "chargingSchedulePeriod":
        ascending = anything.map(lambda ps: [{**p, "startPeriod": n * 60} for n, p in enumerate(ps)])
        return ascending.filter(bool) | anything
    if name == "chargingSchedule" and schema.get("type") == "array":
        return anything.map(lambda schedules: schedules[:1])
    if name in ("connectorId", "evseId", "stackLevel", "chargingProfileId"):
        return st.sampled_from([1, 1, 2, 0]) if schema["type"] == "integer" else anything
    if name == "csChargingProfiles" or schema.get("$ref", "").endswith("/ChargingProfileType"):
        return anything | anything.map(mended)
    if name == "transactionId":
        return st.just(7 if schema["type"] == "integer" else "7") | anything
    if name in ("expiryDate", "expiryDateTime"):
        return st.just(stamp(START + timedelta(seconds=4))) | anything
    return anything


def fitting(schema: dict[str, Any], root: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values of a schema, optional fields sometimes left out."""
    if "$ref" in schema:
        return fitting(root["definitions"][schema["$ref"].rsplit("/", 1)[-1]], root)
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    kind = schema.get("type")
    if kind == "object":
        fields = {
            name: likely(name, inner, fitting(inner, root))
            for name, inner in schema.get("properties", {}).items()
            if name not in ("customData", "salesTariff", "absolutePriceSchedule", "priceLevelSchedule")
        }
        must = set(schema.get("required", []))
        return st.fixed_dictionaries(
            {n: f for n, f in fields.items() if n in must},
            optional={n: f for n, f in fields.items() if n not in must},
        )
    if kind == "array":
        low = schema.get("minItems", 0)
        return st.lists(fitting(schema["items"], root), min_size=low, max_size=max(low, 2))
    if kind == "string":
        if schema.get("format") == "date-time":
            return times
        if schema.get("format") == "uri":
            return st.just("https://x.example/")
        return words.map(lambda word: word[: schema.get("maxLength", 99)])
    if kind == "integer":
        low, high = schema.get("minimum", -1), schema.get("maximum", 3000)
        return st.sampled_from([n for n in (-1, 0, 1, 2, 3, 7, 60, 3000) if low <= n <= high])
    if kind == "number":
        below = schema.get("maximum", 50) <= 0
        return st.integers(0, 500).map(lambda deci: -deci / 10 if below else deci / 10)
    if kind == "boolean":
        return st.booleans()
    return st.none()


def requests(version: str) -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
    ending = "" if version == "ocpp1.6" else "Request"
    known = sorted(Bench(version).device.actions)  # type: ignore[arg-type]
    made: list[st.SearchStrategy[tuple[str, dict[str, Any]]]] = []
    for action in known:
        file = files("ocpp") / FOLDERS[version] / "schemas" / f"{action}{ending}.json"
        schema = json.loads(file.read_text("utf-8-sig"))
        made.append(st.tuples(st.just(action), fitting(schema, schema)))
    return st.one_of(made)


@pytest.mark.parametrize("version", ["ocpp1.6", "ocpp2.0.1", "ocpp2.1"])
def test_any_fitting_request_is_answered(version: Any) -> None:
    accepted: set[str] = set()

    @settings(max_examples=300, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
    @given(asked=st.lists(requests(version), min_size=1, max_size=8))
    def run(asked: list[tuple[str, dict[str, Any]]]) -> None:
        bench = Bench(version)
        bench.begin(1, "7")
        for action, payload in asked:
            if bench.ask(action, **payload).get("status") == "Accepted":
                accepted.add(action)
            bench.wait(1)
            limit_kw = bench.device.limit_kw(1, bench.now, 3, 230)
            assert limit_kw is None or limit_kw >= 0
        bench.restart()
        bench.wait(1)

    run()
    assert {"SetChargingProfile", "ReserveNow", "SendLocalList", "GetCompositeSchedule"} <= accepted
