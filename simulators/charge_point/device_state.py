"""What the parts of a simulated charge point's inner device share: its transactions, its clock, its agenda.

Nothing here does I/O: what the device wants to say goes to `tell`, what it wants done to the station's hooks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, cast

Json = dict[str, Any]
Handler = Callable[[Json], Json]
OcppVersion = Literal["ocpp1.6", "ocpp2.0.1", "ocpp2.1"]


def stamp(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def read_time(text: str) -> datetime:
    """RFC 3339; without an offset it is UTC. Raises ValueError."""
    at = datetime.fromisoformat(text)
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def objects(value: Any) -> list[Json]:
    """A list of JSON objects of a payload; absent is empty."""
    return cast("list[Json]", value or [])


@dataclass(frozen=True)
class Wiring:
    """`phases` None: direct current."""

    phases: int | None = 3
    voltage_v: float = 230.0
    max_power_kw: float = 22.0


@dataclass
class RunningTransaction:
    """`transaction_id` is "" until a 1.6 central system has given its number."""

    transaction_id: str
    id_token: str
    began_at: datetime


@dataclass
class StationHooks:
    """What only the station around the device can do or know."""

    reset: Callable[[str], None] = lambda kind: None
    """Hard, Soft (1.6), Immediate, OnIdle, ImmediateAndResume (2.x): time to reboot."""
    unlock: Callable[[int], bool] = lambda number: True
    trigger: Callable[[str, int | None], bool] = lambda message, number: False
    """Send Boot, MeterValues, StatusNotification, TransactionEvent now; False: cannot."""
    has_queued: Callable[[str | None], bool] = lambda transaction_id: False
    """Messages of this transaction (None: of any) are still undelivered."""
    setting_changed: Callable[[str, str], None] = lambda name, value: None
    """After a setting took effect, by its name in this version (AuthorizationKey ...)."""
    status: Callable[[int, str], None] | None = None
    """Connector is now Reserved, Unavailable or Available. None: the device tells StatusNotification."""


@dataclass
class AgendaItem:
    """A message to tell at a time; `job` names the work it belongs to, so that it can be called off."""

    at: datetime
    job: str
    action: str
    payload: Json


@dataclass
class DeviceState:
    version: OcppVersion
    connector_numbers: tuple[int, ...]
    clock: Callable[[], datetime]
    say: Callable[[str, Json], None]
    hooks: StationHooks
    wiring: Mapping[int, Wiring]
    quirks: frozenset[str]
    serial_number: str
    transactions: dict[int, RunningTransaction] = field(default_factory=dict[int, RunningTransaction])
    occupied: set[int] = field(default_factory=set[int])
    faulted: set[int] = field(default_factory=set[int])
    inoperative: set[int] = field(default_factory=set[int])
    agenda: list[AgendaItem] = field(default_factory=list[AgendaItem])
    last_told: dict[str, Json] = field(default_factory=dict[str, Json])

    @property
    def is_16(self) -> bool:
        return self.version == "ocpp1.6"

    def now(self) -> datetime:
        return self.clock()

    def tell(self, action: str, payload: Json) -> None:
        self.last_told[action] = payload
        self.say(action, payload)

    def tell_at(self, job: str, at: datetime, action: str, payload: Json) -> None:
        self.agenda.append(AgendaItem(at, job, action, payload))

    def has_job(self, job: str) -> bool:
        return any(item.job == job for item in self.agenda)

    def call_off(self, job: str) -> None:
        self.agenda = [item for item in self.agenda if item.job != job]

    def work_off(self) -> bool:
        """Tell what is due, in order. False: nothing was."""
        due = sorted((item for item in self.agenda if item.at <= self.now()), key=lambda item: item.at)
        self.agenda = [item for item in self.agenda if item not in due]
        for item in due:
            self.tell(item.action, item.payload)
        return bool(due)

    def knows(self, number: int) -> bool:
        return number in self.connector_numbers

    def is_busy(self, number: int) -> bool:
        return number in self.occupied or number in self.transactions

    def transaction_of(self, transaction_id: str) -> int | None:
        """The connector on which this transaction runs."""
        found = (n for n, t in self.transactions.items() if t.transaction_id == transaction_id)
        return next(found, None)

    def reply(self, status: str, reason_code: str = "", detail: str = "") -> Json:
        """`reason_code` (2.x statusInfo, OCPP 2.0.1 part 2 appendix 5) is left out in 1.6."""
        body: Json = {"status": status}
        if reason_code and not self.is_16:
            body["statusInfo"] = {"reasonCode": reason_code}
            if detail:
                body["statusInfo"]["additionalInfo"] = detail
        return body

    def show_status(self, number: int, word: str) -> None:
        if self.hooks.status is not None:
            self.hooks.status(number, word)
        elif self.is_16:
            self.tell(
                "StatusNotification",
                {
                    "connectorId": number,
                    "errorCode": "NoError",
                    "status": word,
                    "timestamp": stamp(self.now()),
                },
            )
        else:
            self.tell(
                "StatusNotification",
                {
                    "timestamp": stamp(self.now()),
                    "connectorStatus": word,
                    "evseId": number,
                    "connectorId": 1,
                },
            )

    def security_event(self, kind: str, detail: str = "") -> None:
        body: Json = {"type": kind, "timestamp": stamp(self.now())}
        if detail:
            body["techInfo"] = detail[:255]
        self.tell("SecurityEventNotification", body)

    def tell_parts(self, action: str, parts: Iterable[Json]) -> None:
        """A report in parts: each with seqNo and tbc (to be continued)."""
        listed = list(parts)
        for sequence, part in enumerate(listed):
            more: Json = {"seqNo": sequence, "tbc": sequence + 1 < len(listed)}
            self.tell(action, {**part, "generatedAt": stamp(self.now()), **more})

    def snapshot(self) -> Json:
        return {
            "transactions": {
                str(n): [t.transaction_id, t.id_token, stamp(t.began_at)]
                for n, t in self.transactions.items()
            },
            "inoperative": sorted(self.inoperative),
            "agenda": [[stamp(i.at), i.job, i.action, i.payload] for i in self.agenda],
        }

    def restore(self, kept: Json) -> None:
        self.transactions = {
            int(n): RunningTransaction(str(t[0]), str(t[1]), read_time(t[2]))
            for n, t in kept["transactions"].items()
        }
        self.inoperative = set(kept["inoperative"])
        self.agenda = [AgendaItem(read_time(i[0]), i[1], i[2], i[3]) for i in kept["agenda"]]
