"""A run that takes its stop over (it was set back) owns the sessions again that others have kept since."""

from __future__ import annotations

from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from models.booked import evidence_of
from models.contract import SIGNAL_EVIDENCE, SIGNAL_HAND_BACK, keeper_workflow_id
from models.stop import StopView


async def take_sessions_over(client: Client, books: StopView, taker: StopView) -> None:
    """Tell the run what is booked as ended and it has not seen (before its record overwrites the books), and
    the keepers to hand back what they have. A repeat changes nothing. Raises RPCError."""
    seen = {one.attempt_id: one for one in taker.attempts}
    news = [
        item
        for one in books.attempts
        if one.attempt_id not in seen or evidence_of(seen[one.attempt_id]) != evidence_of(one)
        for item in evidence_of(one)
    ]
    if news:
        await client.get_workflow_handle(taker.workflow_id).signal(SIGNAL_EVIDENCE, news)
    for one in books.attempts:
        keeper = client.get_workflow_handle(keeper_workflow_id(one.attempt_id))
        try:
            await keeper.signal(SIGNAL_HAND_BACK, taker.workflow_id)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:  # there is none, or it has done its work
                raise
