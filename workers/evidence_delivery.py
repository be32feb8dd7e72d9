"""Tells stops what was heard, and the keepers of sessions what their closed stops can no longer hear.

Each stop is told by itself: what fails for one is tried again later, for that one. Nothing is told within a
transaction; a claim that is not settled (this process died) ends with its lease, and any process tells again.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from datetime import timedelta

import structlog
from pydantic import ValidationError
from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.service import RPCError, RPCStatusCode

from models.activity_messages import KeptSession
from models.contract import KEEPER_WORKFLOW, SIGNAL_EVIDENCE, STOP_QUEUE, keeper_workflow_id
from models.evidence import Evidence, EvidenceKind
from models.ids import TenantId
from models.stop import SessionState
from store.database import Store
from store.evidence import BookedSession
from store.evidence_delivery import LEASE_S, ClaimedEvidence, Settled
from workers import evidence_counts as counts
from workers.gateway.group_commit import GroupCommit

_log = structlog.get_logger(__name__)

CLAIM_ROWS = 400
SIGNAL_S = 5.0
MOST_ITEMS, MOST_BYTES = 50, 90_000
"""Of one signal: far below what the server takes, and a history stays readable."""
_AT_ONCE, _AT_ONCE_PER_TENANT = 48, 16
_LEAST_LEASE_S = 3 * SIGNAL_S
_FIRST_DELAY_S, _LONGEST_DELAY_S, _SERVER_AWAY_S = 0.5, 60.0, 2.0
_NEW_KIND_TRIES, _NO_STOP_TRIES = 8, 20
_SAME_KWH = 0.001

_NOT_FOR_KEEPERS = frozenset(
    {
        EvidenceKind.METER,
        EvidenceKind.COMMAND_ACCEPTED,
        EvidenceKind.SESSION_PENDING,
        EvidenceKind.ARRIVED,
        EvidenceKind.PLUGGED_IN,
        EvidenceKind.VEHICLE_PROGRESS,
        EvidenceKind.CONNECTOR_AVAILABLE,
        EvidenceKind.CONNECTOR_FAULTED,
        EvidenceKind.CONNECTOR_OCCUPIED,
        EvidenceKind.CHARGER_REMOVED,
    }
)
_OF_THE_LINE = frozenset({EvidenceKind.STATION_OFFLINE, EvidenceKind.STATION_ONLINE})
_KINDS = frozenset(str(kind) for kind in EvidenceKind)
_SERVER_WIDE = frozenset({RPCStatusCode.UNAVAILABLE, RPCStatusCode.CANCELLED})


class _Readable:
    """A claimed row that could be read."""

    __slots__ = ("evidence", "row")

    def __init__(self, row: ClaimedEvidence, evidence: Evidence) -> None:
        self.row, self.evidence = row, evidence


class EvidenceCourier:
    """`quiet_s`: see store.evidence_delivery. `on_free`: a stop has been told, and more may have come for it
    in the meantime."""

    def __init__(
        self, store: Store, client: Client, quiet_s: float = 0.0, on_free: Callable[[], None] | None = None
    ) -> None:
        self._store = store
        self._client = client
        self._quiet_s = quiet_s
        self._on_free = on_free
        self._passed_over = False
        self._failing_stops: set[str] = set()
        self._under_way: dict[asyncio.Task[None], tuple[str, str]] = {}
        self._at_once = asyncio.Semaphore(_AT_ONCE)
        self._at_once_of: defaultdict[str, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(_AT_ONCE_PER_TENANT)
        )
        self._settling: GroupCommit[Settled, None] = GroupCommit(self._settle)

    @property
    def under_way(self) -> int:
        """How many stops are being told in this moment."""
        return len(self._under_way)

    async def begin(self) -> tuple[int, list[asyncio.Task[None]]]:
        """Claim what is due and begin to tell it. Returns the number of rows, and what tells them. Stops that
        are being told, and tenants with too many of them, have no turn. Raises what the database raises."""
        self._passed_over = self._passed_over or bool(self._under_way)
        told = Counter(tenant_id for tenant_id, _ in self._under_way.values())
        claimed_at = time.monotonic()
        async with self._store.platform() as unit:
            rows = await unit.evidence.claim(
                CLAIM_ROWS,
                quiet_s=self._quiet_s,
                busy_stops=[stop_id for _, stop_id in self._under_way.values()],
                busy_tenants=[name for name, number in told.items() if number >= _AT_ONCE_PER_TENANT],
            )
        of_stop: defaultdict[tuple[str, str], list[ClaimedEvidence]] = defaultdict(list)
        for row in rows:
            of_stop[row.tenant_id, row.stop_id].append(row)
        begun: list[asyncio.Task[None]] = []
        for key, news in of_stop.items():
            task = asyncio.create_task(self._tell(news, claimed_at + LEASE_S - _LEAST_LEASE_S))
            self._under_way[task] = key
            task.add_done_callback(self._is_done)
            begun.append(task)
        return len(rows), begun

    def _is_done(self, task: asyncio.Task[None]) -> None:
        self._under_way.pop(task, None)
        if self._passed_over and self._on_free is not None:
            self._passed_over = False
            self._on_free()

    async def some_done(self) -> None:
        """Wait until one of those under way is done."""
        await asyncio.wait(list(self._under_way), return_when=asyncio.FIRST_COMPLETED)

    async def finish(self, within_s: float) -> None:
        """Wait for what is under way; give back what is not done by then."""
        if self._under_way:
            await asyncio.wait(list(self._under_way), timeout=within_s)
        for task in list(self._under_way):
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    # --- one stop -----------------------------------------------------------------------------------------

    async def _tell(self, rows: list[ClaimedEvidence], until: float) -> None:
        """Never raises for what the server, the store or a row does."""
        open_rows = {row.position: row for row in rows}
        failed = False
        try:
            async with self._at_once_of[rows[0].tenant_id], self._at_once:
                if time.monotonic() > until:
                    return  # the lease is nearly over: somebody else may begin any moment
                for chunk in _chunks(await self._read(rows, open_rows)):
                    if not await self._tell_stop(chunk, open_rows):
                        break
        except Exception as error:  # noqa: BLE001  one stop's trouble is nobody else's
            failed = True
            _log.warning("evidence not delivered", stop=rows[0].workflow_id, error=type(error).__name__)
        finally:
            if open_rows:
                await self._give_back(open_rows, failed)

    async def _give_back(self, open_rows: dict[int, ClaimedEvidence], failed: bool) -> None:
        """What was not settled: tried in vain, or not at all."""
        try:
            if failed:
                await self._later(open_rows, list(open_rows), "failed")
            else:
                untried = [Settled(one, is_delivered=False, was_tried=False) for one in open_rows]
                await self._submit(open_rows, untried)
        except Exception as error:  # noqa: BLE001  the lease ends by itself
            _log.warning("claimed evidence not given back", error=type(error).__name__)

    async def _read(
        self, rows: list[ClaimedEvidence], open_rows: dict[int, ClaimedEvidence]
    ) -> list[_Readable]:
        found: list[_Readable] = []
        for row in rows:
            try:
                found.append(_Readable(row, Evidence.model_validate_json(row.body)))
            except ValidationError as error:
                if row.kind not in _KINDS and row.tries < _NEW_KIND_TRIES:
                    # A newer version wrote it, which may run beside this one, and can read it.
                    await self._later(open_rows, [row.position], "refused")
                else:
                    await self._set_aside(open_rows, row, "unreadable", str(error))
        found.sort(key=lambda one: one.evidence.observed_at)
        return found

    async def _tell_stop(self, news: list[_Readable], open_rows: dict[int, ClaimedEvidence]) -> bool:
        """False where it is no use to tell the stop more now."""
        if not news[0].row.workflow_id:
            await self._no_such_stop(open_rows)
            return False
        handle = self._client.get_workflow_handle(news[0].row.workflow_id)
        items = [one.evidence for one in news]
        try:
            async with asyncio.timeout(SIGNAL_S):
                await handle.signal(SIGNAL_EVIDENCE, items, rpc_timeout=timedelta(seconds=SIGNAL_S))
        except (RPCError, TimeoutError) as error:
            return await self._not_told(news, open_rows, error)
        self._failing_stops.clear()
        await self._delivered(open_rows, news, "stop")
        return True

    async def _no_such_stop(self, open_rows: dict[int, ClaimedEvidence]) -> None:
        """Its row comes before all else: it can hardly come still."""
        for row in [row for row in open_rows.values() if row.tries >= _NO_STOP_TRIES]:
            await self._set_aside(open_rows, row, "undeliverable", f"no stop {row.stop_id}")
        await self._later(open_rows, list(open_rows), "not_begun")

    async def _not_told(
        self, news: list[_Readable], open_rows: dict[int, ClaimedEvidence], error: RPCError | TimeoutError
    ) -> bool:
        status = _status(error)
        if status is RPCStatusCode.NOT_FOUND:
            if not news[0].row.has_begun:
                # The row comes first: its workflow is about to begin.
                await self._later(open_rows, list(open_rows), "not_begun")
                return False
            await self._tell_keepers(news, open_rows)
            return True
        if status is RPCStatusCode.INVALID_ARGUMENT:
            if len(news) == 1:
                await self._set_aside(open_rows, news[0].row, "undeliverable", str(error))
                return True
            for one in news:
                if not await self._tell_stop([one], open_rows):
                    return False
            return True
        _log.warning("evidence not delivered", stop=news[0].row.workflow_id, status=status.name)
        await self._later(open_rows, list(open_rows), self._cause(news[0].row.stop_id, status))
        return False

    def _cause(self, stop_id: str, status: RPCStatusCode) -> str:
        """Several stops that fail one after the other, and none that does not: it is the server, and when it
        is back, nobody shall wait for long."""
        self._failing_stops.add(stop_id)
        if status in _SERVER_WIDE or len(self._failing_stops) > 1:
            return "unavailable"
        return "slow" if status is RPCStatusCode.DEADLINE_EXCEEDED else "refused"

    # --- sessions whose stop has closed -------------------------------------------------------------------

    async def _tell_keepers(self, news: list[_Readable], open_rows: dict[int, ClaimedEvidence]) -> None:
        """The stop cannot hear any more. A session that lives all the same must be ended and booked, a late
        word about one that has ended may change its books."""
        tenant_id = news[0].row.tenant_id
        of_attempt: defaultdict[str, list[_Readable]] = defaultdict(list)
        for one in news:
            attempt_id = one.evidence.attempt_id
            if attempt_id is not None and one.evidence.kind not in _NOT_FOR_KEEPERS:
                of_attempt[attempt_id].append(one)
        booked: dict[str, BookedSession] = {}
        if of_attempt:
            async with self._store.tenant(TenantId(tenant_id)) as unit:
                booked = await unit.evidence.booked(list(of_attempt))
        told: set[int] = set()
        for attempt_id, heard in of_attempt.items():
            books = booked.get(attempt_id)
            matters = [one for one in heard if books is not None and not _is_known(one.evidence, books)]
            if books is not None and matters:
                told |= {one.row.position for one in matters}
                await self._tell_keeper(
                    KeptSession(tenant_id=tenant_id, stop_id=books.stop_id, attempt_id=attempt_id),
                    matters,
                    open_rows,
                )
        await self._delivered(open_rows, [one for one in news if one.row.position not in told], "nobody")

    async def _tell_keeper(
        self, session: KeptSession, news: list[_Readable], open_rows: dict[int, ClaimedEvidence]
    ) -> None:
        try:
            async with asyncio.timeout(SIGNAL_S):
                await self._client.start_workflow(
                    KEEPER_WORKFLOW,
                    session,
                    id=keeper_workflow_id(session.attempt_id),
                    task_queue=STOP_QUEUE,
                    id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                    id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                    start_signal=SIGNAL_EVIDENCE,
                    start_signal_args=[[one.evidence for one in news]],
                    static_summary="Session that is heard of after its stop has closed",
                    rpc_timeout=timedelta(seconds=SIGNAL_S),
                )
        except (RPCError, TimeoutError) as error:
            status = _status(error)
            _log.warning("session keeper not told", attempt=session.attempt_id, status=status.name)
            cause = self._cause(session.stop_id, status)
            await self._later(open_rows, [one.row.position for one in news], cause)
            return
        await self._delivered(open_rows, news, "keeper")

    # --- what came of it ----------------------------------------------------------------------------------

    async def _delivered(self, open_rows: dict[int, ClaimedEvidence], news: list[_Readable], to: str) -> None:
        done = [Settled(one.row.position, is_delivered=True) for one in news]
        await self._submit(open_rows, done)
        counts.DELIVERED.labels(to).inc(len(done))

    async def _later(self, open_rows: dict[int, ClaimedEvidence], positions: list[int], cause: str) -> None:
        longest_s = _SERVER_AWAY_S if cause == "unavailable" else _LONGEST_DELAY_S
        done = [
            Settled(position, is_delivered=False, delay_s=_delay_s(open_rows[position].tries, longest_s))
            for position in positions
        ]
        counts.DELAYED.labels(cause).inc(len(done))
        await self._submit(open_rows, done)

    async def _set_aside(
        self, open_rows: dict[int, ClaimedEvidence], row: ClaimedEvidence, reason: str, detail: str
    ) -> None:
        async with self._store.tenant(TenantId(row.tenant_id)) as unit:
            await unit.evidence.set_aside(row.position, reason)
            await unit.quarantine.keep("evidence", reason, row.body.encode(), detail)
        open_rows.pop(row.position, None)
        counts.QUARANTINED.labels(reason).inc()
        _log.warning("evidence set aside", stop=row.workflow_id, reason=reason)

    async def _submit(self, open_rows: dict[int, ClaimedEvidence], done: list[Settled]) -> None:
        await asyncio.gather(*(self._settling.submit(one) for one in done))
        for one in done:
            open_rows.pop(one.position, None)

    async def _settle(self, done: list[Settled]) -> list[None]:
        """What many stops have to write in one moment shares one commit."""
        async with self._store.platform() as unit:
            await unit.evidence.settle(done)
        return [None] * len(done)


def _chunks(news: list[_Readable]) -> Iterator[list[_Readable]]:
    chunk: list[_Readable] = []
    size = 0
    for one in news:
        length = len(one.row.body.encode())
        if chunk and (len(chunk) == MOST_ITEMS or size + length > MOST_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(one)
        size += length
    if chunk:
        yield chunk


def _delay_s(tries: int, longest_s: float) -> float:
    return min(longest_s, _FIRST_DELAY_S * 2 ** min(tries - 1, 20))


def _status(error: RPCError | TimeoutError) -> RPCStatusCode:
    if not isinstance(error, RPCError):
        return RPCStatusCode.DEADLINE_EXCEEDED
    if error.status is RPCStatusCode.NOT_FOUND and "namespace" in error.message.lower():
        return RPCStatusCode.UNAVAILABLE  # the server is not set up yet: that says nothing of any workflow
    return error.status


def _is_known(item: Evidence, books: BookedSession) -> bool:
    """What the books of an ended session already say: an echo of its end, or what was underway when its stop
    closed. A charge record is never an echo."""
    if item.kind is EvidenceKind.CHARGE_RECORD:
        return False
    if item.kind in _OF_THE_LINE or item.kind is EvidenceKind.UNPLUGGED:
        return books.session in (SessionState.ENDED, SessionState.NEVER_BEGAN)
    if books.session is not SessionState.ENDED:
        return False
    if item.energy_kwh is not None and item.energy_kwh > (books.energy_kwh or 0.0) + _SAME_KWH:
        return False
    if item.kind is EvidenceKind.SESSION_ENDED:
        return item.energy_kwh is None or abs(item.energy_kwh - (books.energy_kwh or 0.0)) <= _SAME_KWH
    return books.ended_at is not None and item.observed_at <= books.ended_at
