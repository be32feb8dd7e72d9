"""Transaction messages with anything in any of their fields: one answer each, and the reader lives."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.ocpp.connection import TABLES
from connectors.ocpp.wire.rpc import Answer
from connectors.ocpp.wire.schemas import Json, Version, schemas_of
from tests.ocpp.rpc_peer import Peer, quiet
from tests.ocpp.schema_samples import sample

REPAIRED = [
    (version, action)
    for version, table in TABLES.items()
    for action, row in table.items()
    if row.repair is not None
]
_anything = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False),
        st.text(max_size=300),
        st.sampled_from(["", "-1", "1e400", "0x10", "2026-02-30T00:00:00Z", "9999-12-31T23:59:59-14:00"]),
        st.sampled_from([2**31, -(2**31) - 1, 2**53 + 1, -1, 1e308]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner)),
    max_leaves=5,
)  # fmt: skip


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) in it."""
    items = list(value.items()) if isinstance(value, dict) else list(enumerate(value))
    found = [(value, key) for key, _ in items]
    return found + [place for _, item in items if isinstance(item, dict | list) for place in places(item)]


@pytest.mark.asyncio
@settings(max_examples=400, deadline=None)
@given(st.sampled_from(REPAIRED), st.lists(st.tuples(st.integers(0), _anything), max_size=4), st.booleans())
async def test_anything_anywhere_gets_one_answer(
    row: tuple[Version, str], changes: list[tuple[int, Any]], full: bool
) -> None:
    version, action = row
    payload = copy.deepcopy(sample(version, action, full=full))
    for index, value in changes:
        if found := places(payload):
            container, key = found[index % len(found)]
            container[key] = value

    async def handle(action: str, payload: Json) -> Answer:
        schemas_of(version).check(action, payload)
        return Answer(sample(version, action, response=True))

    repairs = {name: row.repair for name, row in TABLES[version].items() if row.repair is not None}
    peer = Peer(version, handle, frozenset(TABLES[version]), repair=repairs)
    await peer.rpc.receive(json.dumps([2, "a", action, payload]))
    await quiet()
    ((kind, message_id, *_),) = peer.frames
    assert (kind in (3, 4), message_id, peer.drops) == (True, "a", 0)
