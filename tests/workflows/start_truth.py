"""The table behind docs/start-truth.md: what a fault in a phase at a kind of partner comes to, as data.

`python -m tools.start_truth_doc` writes the page; test_start_truth.py runs each row.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from models.commands import CommandOutcome, CommandReply
from models.evidence import EvidenceKind as Kind
from models.reason_codes import ReasonCode as Code


class Then(StrEnum):
    """What the stop does."""

    CHARGED = "charged"
    SHORT = "charged short"
    FALLBACK = "falls back"
    WAITS = "charging goes on"
    PERSON = "a person decides"


@dataclass(frozen=True)
class Heard:
    """One piece of evidence. `heard_s` (silence only): how long ago a sample came; None: none came."""

    kind: Kind
    energy_kwh: float | None = None
    reason: Code | None = None
    heard_s: float | None = None

    def words(self) -> str:
        energy = f" {self.energy_kwh:g} kWh" if self.energy_kwh is not None else ""
        why = f" ({self.reason})" if self.reason else ""
        sampled = " (samples come)" if self.heard_s is not None else ""
        return f"{str(self.kind).replace('_', ' ')}{energy}{why}{sampled}"


@dataclass(frozen=True)
class Row:
    fault: str
    phase: str
    partner: str
    reply: CommandReply
    evidence: tuple[Heard, ...]
    then: Then
    code: Code | None = None
    energy_kwh: float = 0.0
    """Booked by the whole stop, where it ends here."""


def _no(reason: Code) -> CommandReply:
    return CommandReply(outcome=CommandOutcome.REJECTED, reason=reason)


YES = CommandReply(outcome=CommandOutcome.ACCEPTED)
LOST = CommandReply(outcome=CommandOutcome.UNCERTAIN, reason=Code.START_TIMEOUT)
PARTNER_SILENT = CommandReply(outcome=CommandOutcome.UNCERTAIN, reason=Code.START_PARTNER_TIMEOUT)
AWAY = CommandReply(outcome=CommandOutcome.UNREACHABLE, reason=Code.START_OFFLINE)
STARTED, FLOWS = Heard(Kind.SESSION_STARTED), Heard(Kind.ENERGY_FLOWING, 1.0)


def _end(kwh: float | None, reason: Code | None = None) -> Heard:
    return Heard(Kind.SESSION_ENDED, kwh, reason)


_STARTS = (
    Row("none", "start", "ocpp", YES, (STARTED, FLOWS, _end(30.5)), Then.CHARGED, None, 30.5),
    Row("none", "start", "ocpi", YES, (STARTED, FLOWS, _end(30.5)), Then.CHARGED, None, 30.5),
    Row(
        "none, evidence in the other order",
        "start",
        "ocpp",
        YES,
        (_end(30.5), FLOWS, STARTED),
        Then.CHARGED,
        None,
        30.5,
    ),
    Row("refused", "start", "ocpp", _no(Code.START_REJECTED), (), Then.FALLBACK, Code.START_REJECTED),
    Row("refused", "start", "ocpi", _no(Code.START_OCCUPIED), (), Then.FALLBACK, Code.START_OCCUPIED),
    Row(
        "refused, and starts all the same",
        "start",
        "ocpp",
        _no(Code.START_REJECTED),
        (STARTED, _end(30.5)),
        Then.FALLBACK,
        Code.START_REJECTED,
    ),
    Row(
        "the token is refused",
        "start",
        "ocpi",
        _no(Code.AUTHORISE_DENIED),
        (),
        Then.FALLBACK,
        Code.AUTHORISE_DENIED,
    ),
    Row("no reply, and it starts", "start", "ocpp", LOST, (STARTED, _end(30.5)), Then.CHARGED, None, 30.5),
    Row("no reply, and nothing starts", "start", "ocpp", LOST, (), Then.FALLBACK, Code.START_TIMEOUT),
    Row(
        "no reply, and nothing starts",
        "start",
        "ocpi",
        PARTNER_SILENT,
        (),
        Then.FALLBACK,
        Code.START_PARTNER_TIMEOUT,
    ),
    Row("the charger cannot be reached", "start", "ocpp", AWAY, (), Then.FALLBACK, Code.START_OFFLINE),
)
_CONFIRMS = (
    Row("accepted, never starts", "confirm", "ocpp", YES, (), Then.FALLBACK, Code.CONFIRM_NEVER_STARTED),
    Row("accepted, never starts", "confirm", "ocpi", YES, (), Then.FALLBACK, Code.CONFIRM_NEVER_STARTED),
    Row(
        "faults while starting",
        "confirm",
        "ocpp",
        YES,
        (Heard(Kind.CONNECTOR_FAULTED, reason=Code.CONFIRM_EVSE_FAULT),),
        Then.FALLBACK,
        Code.CONFIRM_EVSE_FAULT,
    ),
    Row(
        "the asynchronous answer is no",
        "confirm",
        "ocpi",
        YES,
        (Heard(Kind.COMMAND_FAILED, reason=Code.START_OCCUPIED),),
        Then.FALLBACK,
        Code.START_OCCUPIED,
    ),
    Row(
        "the answer is no, the session came first",
        "confirm",
        "ocpi",
        YES,
        (STARTED, Heard(Kind.COMMAND_FAILED, reason=Code.START_OCCUPIED), _end(30.5)),
        Then.CHARGED,
        None,
        30.5,
    ),
    Row(
        "the session is declared invalid",
        "confirm",
        "ocpi",
        YES,
        (Heard(Kind.SESSION_INVALID, reason=Code.CONFIRM_SESSION_INVALID),),
        Then.FALLBACK,
        Code.CONFIRM_SESSION_INVALID,
    ),
    Row(
        "a session, no energy, samples come",
        "confirm",
        "ocpp",
        YES,
        (STARTED, Heard(Kind.SESSION_SILENT, 0.0, heard_s=0.0)),
        Then.FALLBACK,
        Code.CONFIRM_NO_ENERGY,
    ),
)
_SUSTAINS = (
    Row("faults in mid charge", "sustain", "ocpp", YES,
        (STARTED, FLOWS, Heard(Kind.CONNECTOR_FAULTED, reason=Code.SUSTAIN_EVSE_FAULT),
         _end(10.0, Code.SUSTAIN_EVSE_FAULT)), Then.FALLBACK, Code.SUSTAIN_EVSE_FAULT),
    Row("faults at 29.7 of 30 kWh", "sustain", "ocpp", YES,
        (STARTED, FLOWS, Heard(Kind.CONNECTOR_FAULTED, reason=Code.SUSTAIN_EVSE_FAULT), _end(29.7)),
        Then.CHARGED, None, 29.7),
    Row("power loss at the site", "sustain", "ocpp", YES,
        (STARTED, FLOWS, _end(4.0, Code.SUSTAIN_POWER_LOSS)),
        Then.FALLBACK, Code.SUSTAIN_POWER_LOSS),
    Row("stopped remotely by others", "sustain", "ocpp", YES,
        (STARTED, FLOWS, _end(6.0, Code.SUSTAIN_STOPPED_REMOTELY)), Then.FALLBACK,
        Code.SUSTAIN_STOPPED_REMOTELY),
    Row("unplugged early", "sustain", "ocpp", YES, (STARTED, FLOWS, _end(8.0, Code.SUSTAIN_UNPLUGGED_EARLY)),
        Then.SHORT, Code.SUSTAIN_UNPLUGGED_EARLY, 8.0),
    Row("the vehicle ends it", "sustain", "ocpp", YES,
        (STARTED, FLOWS, _end(8.0, Code.SUSTAIN_VEHICLE_STOPPED)),
        Then.SHORT, Code.SUSTAIN_VEHICLE_STOPPED, 8.0),
    Row("ends at 1.5 kWh, nobody says why", "sustain", "ocpi", YES,
        (STARTED, FLOWS, _end(1.5)), Then.FALLBACK,
        Code.SUSTAIN_END_UNKNOWN),
    Row("ends at 1.5 kWh, nobody says why", "sustain", "ocpp", YES,
        (STARTED, FLOWS, _end(1.5)), Then.FALLBACK,
        Code.SUSTAIN_END_UNKNOWN),
    Row("stalls: samples come, no energy", "sustain", "ocpp", YES,
        (STARTED, Heard(Kind.SESSION_PROGRESS, 8.0), Heard(Kind.SESSION_SILENT, 8.0, heard_s=0.0)),
        Then.FALLBACK, Code.SUSTAIN_STALLED),
    Row("silence: no sample comes", "sustain", "ocpp", YES,
        (STARTED, Heard(Kind.SESSION_PROGRESS, 8.0), Heard(Kind.SESSION_SILENT, 8.0)), Then.WAITS,
        Code.SUSTAIN_CONTACT_LOST),
    Row("the uplink is lost", "sustain", "ocpp", YES,
        (STARTED, FLOWS, Heard(Kind.STATION_OFFLINE)), Then.WAITS,
        Code.SUSTAIN_CONTACT_LOST),
    Row("the uplink is lost and back", "sustain", "ocpp", YES,
        (STARTED, FLOWS, Heard(Kind.STATION_OFFLINE), Heard(Kind.STATION_ONLINE), _end(30.5)), Then.CHARGED,
        None, 30.5),
    Row("paused by load management", "sustain", "ocpp", YES,
        (STARTED, FLOWS, Heard(Kind.SUSPENDED_BY_CHARGER)), Then.WAITS, Code.SUSTAIN_PAUSED),
    Row("paused, resumed, full", "sustain", "ocpp", YES,
        (STARTED, FLOWS, Heard(Kind.SUSPENDED_BY_CHARGER), Heard(Kind.ENERGY_FLOWING, 12.0), _end(30.5)),
        Then.CHARGED, None, 30.5),
    Row("the vehicle takes no more, stays plugged", "sustain", "ocpp", YES,
        (STARTED, Heard(Kind.SESSION_PROGRESS, 12.0), Heard(Kind.SUSPENDED_BY_VEHICLE)), Then.SHORT,
        Code.SUSTAIN_VEHICLE_STOPPED, 12.0),
    Row("authorisation is withdrawn", "sustain", "ocpp", YES,
        (STARTED, FLOWS, _end(3.0, Code.SUSTAIN_DEAUTHORISED)), Then.FALLBACK, Code.SUSTAIN_DEAUTHORISED),
    Row("an end that was not told (lost)", "sustain", "ocpp", YES,
        (STARTED, FLOWS, _end(9.0, Code.SUSTAIN_CONTACT_LOST)), Then.SHORT, Code.SUSTAIN_CONTACT_LOST, 9.0),
)  # fmt: skip

TABLE: tuple[Row, ...] = (*_STARTS, *_CONFIRMS, *_SUSTAINS)
