"""`backstop stops`: what an operator does by hand for a stop that lost its workflow. Idempotent.

Exit codes: 0 done, or nothing to do; 1 it cannot be done now; 2 wrong usage.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from temporalio.client import (
    Client,
    WorkflowExecutionStatus,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.service import RPCError, RPCStatusCode

from models.contract import STOP_QUEUE, UPDATE_RELEASE_SESSION, keeper_workflow_id
from models.ids import TenantId
from models.stop import SessionReleased
from store.database import Store
from workers.observability import configure_logging
from workers.prompt import at_the_prompt, leave, reach_temporal
from workers.settings import Settings
from workers.stop_reconciler import StopReconciler

app = typer.Typer(
    no_args_is_help=True, help="Stops that lost their workflow, and sessions that nobody saw end."
)

StopId = Annotated[str, typer.Argument(help="The stop's id (`stop_...`).")]
_WAIT_S = 15.0
_SAID = {
    "started": "its workflow had never begun; it is started",
    "running": "its workflow runs; nothing was done (call it off through the API)",
    "cancelled": "its workflow runs, and has taken the cancel that was kept for it",
    "released": "its workflow is gone: closed, vehicle free, a keeper ends what may still charge",
    "repaired": "its workflow had completed: log and view now say what it says",
    "kept": "it has closed; each session of it that may live has a keeper",
    "followed": "it had closed and was set back; its row follows the run that lives",
    "changed": "somebody else was faster; look at it again",
}


class CannotBeDone(Exception):
    """Told to the operator; the command ends with 1."""


async def look_after_stop(store: Store, client: Client, stop_id: str, *, task_queue: str = STOP_QUEUE) -> str:
    """What the reconciler would do, for one stop and at once. Returns a sentence. Raises CannotBeDone."""
    async with store.platform() as unit:
        stop = await unit.stops.find(stop_id)
    if stop is None:
        raise CannotBeDone("there is no such stop")
    try:
        return _SAID[await StopReconciler(store, client, task_queue=task_queue).look_after(stop)]
    except RPCError as error:
        raise CannotBeDone(f"Temporal does not answer ({error.status.name})") from error


async def end_session(client: Client, attempt_id: str, energy_kwh: float, by: str) -> str:
    """Tell a session's keeper what a person saw. Returns a sentence. Raises CannotBeDone."""
    handle = client.get_workflow_handle(keeper_workflow_id(attempt_id))
    event_id = f"operator:{attempt_id}"
    try:
        await handle.execute_update(
            UPDATE_RELEASE_SESSION,
            SessionReleased(event_id=event_id, energy_kwh=energy_kwh, by=by),
            id=f"{UPDATE_RELEASE_SESSION}:{event_id}:{energy_kwh:g}",
            rpc_timeout=timedelta(seconds=_WAIT_S),
        )
    except WorkflowUpdateFailedError as error:
        raise CannotBeDone(f"its keeper refuses it: {error.cause}") from error
    except WorkflowUpdateRPCTimeoutOrCancelledError as error:
        raise CannotBeDone("no stop worker answers") from error
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise CannotBeDone(f"Temporal does not answer ({error.status.name})") from error
        if await _has_ended(client, attempt_id):
            return "its keeper has ended: the session is over and booked"
        raise CannotBeDone(
            "no keeper holds such a session (a session of a stop that still runs is the stop's own)"
        ) from error
    return f"ended with {energy_kwh:g} kWh, and booked"


async def deliver_again(store: Store, tenant_id: TenantId) -> str:
    """The way back from quarantine: what a version that can read it, or a healed row, makes deliverable."""
    async with store.tenant(tenant_id) as unit:
        again = await unit.evidence.try_again()
    return f"{again} pieces of evidence are tried again; what still cannot be read goes back to quarantine"


async def _has_ended(client: Client, attempt_id: str) -> bool:
    try:
        found = await client.get_workflow_handle(keeper_workflow_id(attempt_id)).describe()
    except RPCError:
        return False
    return found.status is WorkflowExecutionStatus.COMPLETED


@app.command()
def release(stop_id: StopId) -> None:
    """Close a stop whose workflow is gone, now: the vehicle is free, and what may still charge is ended."""
    _main(stop_id, lambda store, client: look_after_stop(store, client, stop_id))


@app.command()
def repair(stop_id: StopId) -> None:
    """Write what the workflow of a stop says, where its log stayed behind; start one that never began."""
    _main(stop_id, lambda store, client: look_after_stop(store, client, stop_id))


@app.command("session-ended")
def session_ended(
    attempt_id: Annotated[str, typer.Argument(help="The attempt whose session was seen to have ended.")],
    energy_kwh: Annotated[float, typer.Option(min=0, max=2000, help="What the charger or the bill says.")],
    by: Annotated[str, typer.Option(help="Who has seen it; no personal data.")] = "operator",
) -> None:
    """A person has seen that a session ended which nobody could prove: its connector is free again."""
    _main(attempt_id, lambda _, client: end_session(client, attempt_id, energy_kwh, by))


@app.command("deliver-again")
def deliver_evidence_again(
    tenant: Annotated[str, typer.Option(help="Whose evidence, of what GET /v1/quarantine shows.")],
) -> None:
    """Deliver the evidence that was set aside as unreadable, by a version that can read it."""
    _main(tenant, lambda store, _: deliver_again(store, TenantId(tenant)))


def _main(what: str, work: Callable[[Store, Client], Awaitable[str]]) -> None:
    settings = Settings()  # pyright: ignore[reportCallIssue]  fields come from the environment
    configure_logging(settings)
    console = Console()
    try:
        with at_the_prompt():
            said = asyncio.run(_connected(settings, work))
    except CannotBeDone as error:
        console.print(f"[red]{escape(what)}[/]: {escape(str(error))}", soft_wrap=True)
        leave(1)
    console.print(f"[bold]{escape(what)}[/]: {escape(said)}", soft_wrap=True)
    leave()


async def _connected(settings: Settings, work: Callable[[Store, Client], Awaitable[str]]) -> Any:
    store = Store(settings.database_url, pool_size=1)
    try:
        return await work(store, await reach_temporal(settings, "stops"))
    finally:
        await store.dispose()
