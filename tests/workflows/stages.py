"""Stops brought to a stage of their life, as most tests begin."""

from __future__ import annotations

from models.commands import ChargerCommand
from models.evidence import EvidenceKind
from models.reason_codes import ReasonCode
from models.stop import StopPhase
from tests.workflows.conftest import StopHandle, Surroundings
from tests.workflows.stop_words import arrive


async def charging(around: Surroundings) -> tuple[StopHandle, ChargerCommand]:
    """A stop that charges, and its start command."""
    stop = await around.start()
    await arrive(stop)
    command = await stop.command(1)
    await stop.until(lambda view: view.phase is StopPhase.CHARGING)
    return stop, command


async def start_given_up(around: Surroundings) -> tuple[StopHandle, ChargerCommand]:
    """A stop on its way to a fallback, and the start at c1 that was accepted and not confirmed in time: it
    may yet come alive. Only where `confirmation_s` is short."""
    around.charger.silent = {"c1"}
    stop = await around.start()
    await arrive(stop)
    first = await stop.command(1)
    await stop.until(lambda view: view.phase is StopPhase.EN_ROUTE and view.attempt_number == 1)
    return stop, first


async def bill_awaited(around: Surroundings) -> tuple[StopHandle, ChargerCommand]:
    """A stop whose 30 kWh are charged and whose charge record is yet to come. Only at a roaming partner's."""
    stop, command = await charging(around)
    await around.charger.say(command, EvidenceKind.SESSION_ENDED, energy_kwh=30.0)
    await stop.until(lambda view: view.phase is StopPhase.SETTLING)
    return stop, command


async def charge_fully(stop: StopHandle, number: int = 1, energy_kwh: float = 30.0) -> None:
    """The number-th start of the stop charges to the end."""
    command = await stop.command(number)
    await stop.until(lambda view: view.phase is StopPhase.CHARGING)
    say = stop.around.charger.say
    await say(command, EvidenceKind.ENERGY_FLOWING, energy_kwh=1.0)
    await say(command, EvidenceKind.METER, energy_kwh=energy_kwh / 2)
    await say(
        command, EvidenceKind.SESSION_ENDED, energy_kwh=energy_kwh, reason=ReasonCode.SUSTAIN_VEHICLE_STOPPED
    )
