"""Authorize, 1.6: a token of an attempt of ours is known; a stranger's only where strangers may charge."""

from __future__ import annotations

import pytest

from tests.ocpp.actions.action_log import V16, settle
from tests.ocpp.conftest import Site


@pytest.mark.asyncio
async def test_own_tokens_and_strangers(site: Site) -> None:
    await site.attempt("TAG1")
    client = await site.connect(V16)
    for tag, status in (("TAG1", "Accepted"), ("TAG2", "Invalid"), ("", "Invalid")):
        assert await client.call("Authorize", {"idTag": tag}) == {"idTagInfo": {"status": status}}


@pytest.mark.asyncio
async def test_strangers_where_they_may_charge(site: Site) -> None:
    await settle(site, foreign_tokens=True)
    client = await site.connect(V16)
    assert await client.call("Authorize", {"idTag": "TAG2"}) == {"idTagInfo": {"status": "Accepted"}}
