"""What a backend orders, however it came: read once, with a clear word about what cannot be read."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import ValidationError

from models.faults import faults_of
from models.ids import workflow_id_for
from models.place import Place
from models.stop import ChargingStopInput, StopRequest
from models.vehicle import VehicleState
from stops.stop import Stop

_MOST_RUNS = 50
"""That are remembered. A run that writes nothing is long past: each is some thousand events of a history."""


def carried_on(carried: Any, run_id: str) -> Stop:
    """The stop as the run before left it. Raises ValidationError: what our own code wrote and cannot read is
    a bug, to be seen and mended, not a stop to be ended."""
    stop = Stop.model_validate(carried)
    stop.former_run_ids = (*stop.former_run_ids, stop.run_id)[-_MOST_RUNS:]
    stop.continued_from_run_id, stop.run_id = stop.run_id, run_id
    stop.inbox.counts = {}
    return stop


def read_order(order: Any, workflow_id: str, run_id: str, now: datetime) -> Stop:
    """A new stop. An order that no stop can be made of gives a stop that says so (`unreadable`; it names
    fields, never values): whoever holds a Temporal client may send anything, and nothing he sends may wedge a
    workflow."""
    try:
        read = ChargingStopInput.model_validate(order)
    except ValidationError as error:
        return unreadable(faults_of(error), run_id, now)
    expected = workflow_id_for(read.tenant_id, read.request.business_key)
    if workflow_id != expected:
        return _useless("The workflow id must be stop:<tenant>:<business key> of the order", run_id, now)
    return Stop.ordered(read, run_id, now)


def unreadable(why: str, run_id: str, now: datetime) -> Stop:
    return _useless(f"This is no charging stop: {why}", run_id, now)


def _useless(text: str, run_id: str, now: datetime) -> Stop:
    nobody = VehicleState(vehicle_id="unreadable", soc_percent=0, position=Place(latitude=0, longitude=0))
    request = StopRequest(business_key="unreadable", vehicle=nobody, token_uid="unreadable")  # noqa: S106
    stop = Stop.ordered(ChargingStopInput(tenant_id="unreadable", request=request), run_id, now)
    stop.unreadable = text
    return stop
