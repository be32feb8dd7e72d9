"""Every outcome of a command, and what the asynchronous result becomes."""

from __future__ import annotations

import asyncio

import pytest
from fastapi import FastAPI, Response
from fastapi.responses import JSONResponse

from models.commands import CommandKind, CommandOutcome
from models.evidence import EvidenceKind
from models.ids import TenantId
from models.reason_codes import ReasonCode
from simulators.roaming.config import header
from simulators.twin import FaultKind
from store.database import Store
from tests.ocpi.world import serving, until, world

pytestmark = pytest.mark.asyncio


async def test_accepted_then_the_result_comes_as_evidence(store: Store) -> None:
    async with world(store) as w:
        await w.register()
        start = await w.intend()
        reply = await w.port.send(start)
        assert reply.outcome is CommandOutcome.ACCEPTED
        result = await w.heard(start, EvidenceKind.COMMAND_ACCEPTED)
        assert (result.attempt_id, result.vendor_code) == (start.attempt_id, "commandResult:ACCEPTED")
        entry = next(e for e in w.partner.ledger.entries() if e.what == "command_start")
        assert (entry.key, entry.result) == (start.attempt_id, "ACCEPTED")
        token = await w.http.post(
            f"{w.us.base_url}/tokens/FLEET1/authorize",
            params={"type": "APP_USER"},
            headers=header(w.partner.peer.token_out if w.partner.peer else ""),
        )
        assert token.json()["data"]["allowed"] == "ALLOWED"


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (FaultKind.REJECT, ReasonCode.START_REJECTED),
        (FaultKind.OCCUPIED_ON_ARRIVAL, ReasonCode.START_OCCUPIED),
        (FaultKind.START_LATE, ReasonCode.START_TIMEOUT),
    ],
)
async def test_a_failed_result_is_evidence_with_our_code(
    store: Store, kind: FaultKind, reason: ReasonCode
) -> None:
    async with world(store) as w:
        await w.register()
        w.fault(kind, delay_s=0.1)
        start = await w.intend()
        assert (await w.port.send(start)).outcome is CommandOutcome.ACCEPTED
        failed = await w.heard(start, EvidenceKind.COMMAND_FAILED)
        assert failed.reason is reason


async def test_rejected_at_once(store: Store) -> None:
    async with world(store) as w:
        await w.register()
        w.fault(FaultKind.REJECT, delay_s=0)
        reply = await w.port.send(await w.intend())
        assert (reply.outcome, reply.reason) == (CommandOutcome.REJECTED, ReasonCode.START_REJECTED)


async def test_a_5xx_and_silence_are_uncertain_and_a_dead_peer_is_unreachable(store: Store) -> None:
    async with world(store, read_timeout_s=0.3) as w:
        link = await w.register()
        start = await w.intend()
        w.fault(FaultKind.PARTNER_5XX)
        reply = await w.port.send(start)
        assert (reply.outcome, reply.reason) == (CommandOutcome.UNCERTAIN, ReasonCode.START_PARTNER_ERROR)
        w.fault(FaultKind.PARTNER_TIMEOUT, delay_s=0.4)
        w.plug()
        reply = await w.port.send(start)
        assert (reply.outcome, reply.reason) == (CommandOutcome.UNCERTAIN, ReasonCode.START_PARTNER_TIMEOUT)
        # The partner acted all the same: the session still finds its attempt.
        assert (await w.heard(start, EvidenceKind.SESSION_STARTED)).attempt_id == start.attempt_id
        gone = "http://127.0.0.1:1"
        endpoints = tuple(
            e.model_copy(update={"url": e.url.replace(w.partner_url, gone)}) for e in link.endpoints
        )
        await w.roaming.save(
            link.model_copy(update={"versions_url": f"{gone}/ocpi/versions", "endpoints": endpoints})
        )
        reply = await w.port.send(start)
        assert (reply.outcome, reply.reason) == (CommandOutcome.UNREACHABLE, ReasonCode.START_PARTNER_ERROR)


@pytest.mark.parametrize(
    ("answer", "outcome", "reason"),
    [
        (JSONResponse({"status_code": 2003}), CommandOutcome.REJECTED, ReasonCode.START_INOPERATIVE),
        (JSONResponse({"status_code": 2004}), CommandOutcome.REJECTED, ReasonCode.AUTHORISE_TOKEN_UNKNOWN),
        (JSONResponse({"status_code": 3000}), CommandOutcome.UNCERTAIN, ReasonCode.START_PARTNER_ERROR),
        (JSONResponse({"status_code": 4002}), CommandOutcome.UNCERTAIN, ReasonCode.START_PARTNER_TIMEOUT),
        (JSONResponse({"status_code": 4003}), CommandOutcome.REJECTED, ReasonCode.START_PARTNER_ERROR),
        (
            JSONResponse({}, 429, {"retry-after": "7"}),
            CommandOutcome.REJECTED,
            ReasonCode.START_PARTNER_ERROR,
        ),
        (
            JSONResponse({}, 503, {"retry-after": "7"}),
            CommandOutcome.UNCERTAIN,
            ReasonCode.START_PARTNER_ERROR,
        ),
        (Response("<html>", 200), CommandOutcome.UNCERTAIN, ReasonCode.START_PARTNER_ERROR),
        (
            Response("", 302, {"location": "http://x/"}),
            CommandOutcome.REJECTED,
            ReasonCode.START_PARTNER_ERROR,
        ),
        (
            JSONResponse({"status_code": 1000, "data": {"result": "NOT_SUPPORTED", "timeout": 1}}),
            CommandOutcome.REJECTED,
            ReasonCode.START_NOT_SUPPORTED,
        ),
        (
            JSONResponse({"status_code": 1000, "data": {"result": "PERHAPS"}}),
            CommandOutcome.UNCERTAIN,
            ReasonCode.START_PARTNER_ERROR,
        ),
        (JSONResponse({"status_code": 1000}), CommandOutcome.UNCERTAIN, ReasonCode.START_PARTNER_ERROR),
    ],
    ids=lambda value: str(value) if isinstance(value, str) else None,
)
async def test_every_answer_has_a_meaning(
    store: Store, answer: Response, outcome: CommandOutcome, reason: ReasonCode
) -> None:
    odd = FastAPI()

    @odd.post("/commands/START_SESSION")
    async def command() -> Response:
        return answer

    async with world(store) as w, serving(lambda url: odd) as (url, _):
        link = await w.register()
        start = await w.intend()
        endpoints = tuple(
            e.model_copy(update={"url": f"{url}/commands"}) if e.identifier == "commands" else e
            for e in link.endpoints
        )
        await w.roaming.save(link.model_copy(update={"endpoints": endpoints, "extra_origins": (url,)}))
        reply = await w.port.send(start)
        assert (reply.outcome, reply.reason) == (outcome, reason)
        if answer.headers.get("retry-after"):
            assert "Retry-After 7" in reply.detail


async def test_stop_needs_a_session_and_ends_it(store: Store) -> None:
    async with world(store) as w:
        await w.register()
        w.plug(target=100)
        start = await w.intend()
        await w.port.send(start)
        session = await w.heard(start, EvidenceKind.SESSION_STARTED)
        stop = start.model_copy(update={"kind": CommandKind.STOP, "command_id": "c-stop"})
        assert (await w.port.send(stop)).outcome is CommandOutcome.UNREACHABLE
        unknown = await w.port.send(stop.model_copy(update={"session_ref": "nobody"}))
        assert (unknown.outcome, unknown.reason) == (CommandOutcome.REJECTED, ReasonCode.STOP_REJECTED)
        reply = await w.port.send(stop.model_copy(update={"session_ref": session.session_ref}))
        assert reply.outcome is CommandOutcome.ACCEPTED
        await w.heard(start, EvidenceKind.SESSION_ENDED)
        await w.quiet()
        kinds = await w.kinds(start)
        assert kinds.count(EvidenceKind.COMMAND_ACCEPTED) == 1  # the stop's result is no evidence of a start
        unlock = start.model_copy(update={"kind": CommandKind.UNLOCK, "command_id": "c-unlock"})
        assert (await w.port.send(unlock)).outcome is CommandOutcome.ACCEPTED


async def test_a_result_url_is_unguessable_single_and_bound_to_the_partner(store: Store) -> None:
    async with world(store) as w, world(store) as other:
        await w.register()
        await other.register()
        start = await w.intend()
        await w.port.send(start)
        await w.heard(start, EvidenceKind.COMMAND_ACCEPTED)
        assert w.partner.peer is not None
        assert other.partner.peer is not None
        guess = f"{w.us.base_url}/commands/START_SESSION/guess"
        body = {"result": "FAILED"}
        assert (
            await w.http.post(guess, json=body, headers=header(w.partner.peer.token_out))
        ).status_code == 404
        assert (await w.http.post(guess, json=body)).status_code == 401
        async with w.store.tenant(TenantId(w.tenant_id)) as tenant_unit:
            rows = await tenant_unit.partners.list_objects("command")
        assert len(rows) == 1
        real = f"{w.us.base_url}/commands/START_SESSION/{rows[0].object_id}"
        foreign = await w.http.post(real, json=body, headers=header(other.partner.peer.token_out))
        assert foreign.status_code == 404
        for _ in range(2):  # a second result, and again: told once each
            reply = await w.http.post(real, json=body, headers=header(w.partner.peer.token_out))
            assert reply.json()["status_code"] == 1000
        kinds = await w.kinds(start)
        assert kinds.count(EvidenceKind.COMMAND_FAILED) == 1


async def test_concurrent_starts_have_urls_of_their_own(store: Store) -> None:
    async with world(store, count=4) as w:
        await w.register()
        starts = [await w.intend(number, token_uid=f"F{number}") for number in range(1, 5)]
        replies = await asyncio.gather(*(w.port.send(start) for start in starts))
        assert {reply.outcome for reply in replies} == {CommandOutcome.ACCEPTED}
        for start in starts:
            await w.heard(start, EvidenceKind.COMMAND_ACCEPTED)
        await until(
            lambda: len([e for e in w.partner.ledger.entries() if e.result == "connection_timeout"]) == 4
        )


async def test_a_charger_of_no_partner_is_unreachable(store: Store) -> None:
    async with world(store) as w:
        await w.register()
        start = await w.intend()
        strange = start.charger.model_copy(update={"charger_id": "elsewhere"})
        reply = await w.port.send(start.model_copy(update={"charger": strange}))
        assert reply.outcome is CommandOutcome.UNREACHABLE
