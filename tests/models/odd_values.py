"""Values that broke something once, and what must be true of a message that took one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from pydantic import BaseModel

from models.ids import canonical_json
from models.policy import Policy

REQUEST: dict[str, Any] = {
    "business_key": "tour-1.leg-2",
    "vehicle": {
        "vehicle_id": "van-1",
        "model_id": "id-1",
        "battery_usable_kwh": 60.0,
        "connectors": ["IEC_62196_T2_COMBO"],
        "soc_percent": 24.0,
        "position": {"latitude": 51.2, "longitude": 6.8},
        "telematics_id": "t-1",
    },
    "target_soc_percent": 80.0,
    "destination": {"latitude": 50.9, "longitude": 6.9},
    "latest_arrival": "2026-11-21T08:00:00Z",
    "latest_departure": "2026-11-21T09:00:00+01:00",
    "token_uid": "FLEET017",
    "contract": "DE-8XY",
    "policy_id": "default",
    "excluded_charger_ids": ["c-1", "c-2"],
}
BAD_TEXT = ["\0", "a\0b", "\x1b[2J", "line\nfeed", "\x7f", "\x85", "\ud800", "x\udfff", "y" * 10_000]
ODD_NUMBERS: list[Any] = [
    float("inf"), float("-inf"), float("nan"), 1e308, -1e308, 5e-324, 0, -1, 10**30, 10**400, True,
    "1e999", "-1e999", "NaN", "Infinity", "1e-999999", "0." + "3" * 60, "9" * 60, "1E+2",
]  # fmt: skip
ODD_INSTANTS = [
    "0001-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59Z", "9999-12-31T23:59:59-14:00",
    "1969-12-31T23:59:59Z", "2200-01-01T00:00:01Z", "2026-11-21T08:00:00", "1e12", 253402300799, -62135596800,
    "2099-12-31T23:59:59+14:00", "2000-01-01T00:00:00-14:00", "2026-02-30T00:00:00Z",
]  # fmt: skip


def parts_of(document: Any) -> dict[Any, Any]:
    """What a JSON object or list holds, by name or number."""
    if isinstance(document, dict):
        return cast("dict[Any, Any]", document)
    return dict(enumerate(cast("list[Any]", document))) if isinstance(document, list) else {}


def instants_in(value: Any) -> Iterator[datetime]:
    if isinstance(value, datetime):
        yield value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from instants_in(getattr(value, name))


def is_harmless(message: BaseModel, jsonb: Callable[[str], Any]) -> None:
    dumped = message.model_dump(mode="json")
    text = json.dumps(dumped, allow_nan=False)
    assert type(message).model_validate(jsonb(text)) == message
    assert jsonb(message.model_dump_json()) == dumped
    assert json.loads(canonical_json(dumped)) == dumped
    for instant in instants_in(message):
        for days in (30, -30):
            assert (instant + timedelta(days=days)).astimezone(UTC).timestamp() > -3e6
    if isinstance(message, Policy):
        assert Policy.model_validate(dumped).version == message.version
        assert message.cost_ceiling is None or message.cost_ceiling * 2 / 3 >= 0
