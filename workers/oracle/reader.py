"""Reads the house's own books: what workflows say of themselves, and the rows of a tenant. Not pure.

For drills only: it opens the database as its owner, past row-level security."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import psycopg
from psycopg.sql import SQL, Identifier
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError, WorkflowQueryFailedError
from temporalio.service import RPCError, RPCStatusCode

from models.contract import QUERY_TIMELINE
from models.stop import StopEvent, StopResult, StopView
from workers.oracle.books import HeldAttempt, KeptEvidence, SentCommand, WorkflowBook

_AT_ONCE = 6
_PATIENCE_S = 60.0
_AGAIN_S = 0.5
_EVIDENCE = SQL("delivered_at IS NULL")


@dataclass(frozen=True)
class HouseBooks:
    """As in oracle.Books."""

    workflows: dict[str, WorkflowBook]
    holds: list[HeldAttempt]
    commands: list[SentCommand]
    evidence: list[KeptEvidence]


@dataclass(frozen=True)
class HouseReader:
    """`database_url`: of the owner. `schema`: for tests that share a server. `patience_s`: for a worker to
    come back.
    """

    client: Client
    database_url: str
    tenant_id: str
    schema: str = "public"
    patience_s: float = _PATIENCE_S
    answer_s: float = 10.0

    async def read(self, views: Sequence[StopView]) -> HouseBooks:
        """All of it as it is now. Raises psycopg.Error where the database does not answer: then nothing can
        be promised."""
        workflows = await self.workflows(views)
        connection = await psycopg.AsyncConnection.connect(
            self.database_url, autocommit=True, options=f"-csearch_path={self.schema}", connect_timeout=10
        )
        async with connection:
            holds = await self._rows(connection, "attempt")
            commands = await self._rows(connection, "command")
            evidence = await self._rows(connection, "evidence", _EVIDENCE)
        return HouseBooks(
            workflows=workflows,
            holds=[HeldAttempt.model_validate(row) for row in holds],
            commands=[SentCommand.model_validate(row) for row in commands],
            evidence=[KeptEvidence.model_validate(row | {"quarantined": _why(row)}) for row in evidence],
        )

    async def _rows(
        self, connection: psycopg.AsyncConnection[Any], table: str, where: SQL | None = None
    ) -> list[dict[str, Any]]:
        query = SQL("SELECT to_jsonb(t) - 'body' FROM {} AS t WHERE tenant_id = %s AND {}").format(
            Identifier(table), where or SQL("true")
        )
        found = await connection.execute(query, [self.tenant_id])
        return [row[0] for row in await found.fetchall()]

    async def workflows(self, views: Sequence[StopView]) -> dict[str, WorkflowBook]:
        """By stop id; a stop without a workflow is missing. One that does not answer in time has the error as
        its status and an empty timeline: that breaks promises, as it should."""
        few = asyncio.Semaphore(_AT_ONCE)
        deadline = asyncio.get_running_loop().time() + self.patience_s

        async def one(view: StopView) -> tuple[str, WorkflowBook | None]:
            async with few:
                return view.stop_id, await self._patiently(view.workflow_id, deadline)

        read = await asyncio.gather(*(one(view) for view in views))
        return {stop_id: book for stop_id, book in read if book is not None}

    async def _patiently(self, workflow_id: str, deadline: float) -> WorkflowBook | None:
        """A query needs a worker, which may only just have come back."""
        while True:
            try:
                return await self._workflow(workflow_id)
            except (RPCError, WorkflowQueryFailedError) as error:
                if isinstance(error, RPCError) and error.status is RPCStatusCode.NOT_FOUND:
                    return None
                if asyncio.get_running_loop().time() > deadline:
                    return WorkflowBook(workflow_id=workflow_id, status=f"unreadable ({error})")
            await asyncio.sleep(_AGAIN_S)

    async def _workflow(self, workflow_id: str) -> WorkflowBook:
        timeout = timedelta(seconds=self.answer_s)
        handle = self.client.get_workflow_handle(workflow_id, result_type=StopResult)
        status = (await handle.describe(rpc_timeout=timeout)).status
        timeline = await handle.query(QUERY_TIMELINE, result_type=list[StopEvent], rpc_timeout=timeout)
        result = None
        if status is WorkflowExecutionStatus.COMPLETED:
            try:
                result = await handle.result()
            except WorkflowFailureError:
                result = None  # it moved on between the two calls
        return WorkflowBook(
            workflow_id=workflow_id,
            status=status.name.lower() if status is not None else "unknown",
            timeline=tuple(timeline),
            result=result,
        )


def _why(row: dict[str, Any]) -> str:
    return str(row.get("quarantine_reason") or "unreadable") if row.get("quarantined_at") else ""
