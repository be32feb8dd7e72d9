"""Authorize, 2.x: as in 1.6, whatever type the token is of."""

from __future__ import annotations

import pytest

from tests.ocpp.actions.action_log import V2, settle
from tests.ocpp.conftest import Site


@pytest.mark.asyncio
@pytest.mark.parametrize("version", V2)
async def test_own_tokens_and_strangers(site: Site, version: str) -> None:
    await site.attempt("TAG1")
    client = await site.connect(version)
    for tag, kind, status in (
        ("TAG1", "Central", "Accepted"),
        ("TAG1", "ISO14443", "Accepted"),
        ("TAG2", "Central", "Unknown"),
        ("", "NoAuthorization", "Unknown"),
    ):
        answer = await client.call("Authorize", {"idToken": {"idToken": tag, "type": kind}})
        assert answer == {"idTokenInfo": {"status": status}}, tag


@pytest.mark.asyncio
@pytest.mark.parametrize("version", V2)
async def test_strangers_where_they_may_charge(site: Site, version: str) -> None:
    await settle(site, foreign_tokens=True)
    client = await site.connect(version)
    answer = await client.call("Authorize", {"idToken": {"idToken": "TAG2", "type": "Central"}})
    assert answer == {"idTokenInfo": {"status": "Accepted"}}
