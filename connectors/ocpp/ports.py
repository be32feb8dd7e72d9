"""What the gateway needs of the house; workers/gateway/house.py gives it over the store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from connectors.ocpp.truth.register import Register
from connectors.ports import RoutedEvidence
from models.base import Message, UtcDatetime
from models.charger import ConnectorStatus
from models.charging_limit import ChargingLimit, LimitReply
from models.station import StationEvent, StationIdentity, StationSettings

LOST = "Lost"
"""In place of a stop reason, where the station never told an end: no word of OCPP."""


class LastSeen(Message):
    """A connector as it stood when its line was held last."""

    status: ConnectorStatus
    status_at: UtcDatetime | None = None
    state_since: UtcDatetime | None = None
    changes_last_hour: int = 0
    fault_code: str = ""


class StationInfo(Message):
    """A charge point that has shown who it is. `connectors`: charger id by connector (1.6) or EVSE number."""

    tenant_id: str
    station_id: str
    settings: StationSettings
    identity: StationIdentity = StationIdentity()
    connectors: dict[int, str] = {}
    seen: dict[int, LastSeen] = {}


class Credentials(Message):
    """What a station shows at the door. `subject`: (CN, O) of its verified client certificate."""

    station_id: str
    user: str = ""
    password: bytes = b""
    encrypted: bool = False
    subject: tuple[str, str] | None = None


class TransactionFacts(Message):
    """A transaction as the house keeps it, and the attempt it belongs to, if any."""

    transaction_id: int
    transaction_ref: str | None = None
    connector_number: int
    id_tag: str = ""
    meter_start_wh: float | None
    started_at: UtcDatetime
    ended_at: UtcDatetime | None = None
    energy_wh: float | None = None
    reason: str = ""
    """Why it ended, as EndOfTransaction says it."""
    attempt_id: str | None = None
    stop_id: str | None = None

    @property
    def has_told_end(self) -> bool:
        """Ended, and by the station's own word: what we took for lost gives way to an end that is told."""
        return self.ended_at is not None and not is_lost(self.reason)

    @property
    def generation(self) -> str:
        """Only 2.x names its transactions itself."""
        return "ocpp2.0.1" if self.transaction_ref else "ocpp1.6"

    @property
    def session_ref(self) -> str:
        """What a stop command needs: the 2.x transaction id, or ours in 1.6."""
        return self.transaction_ref or str(self.transaction_id)


class StartOfTransaction(Message):
    """`meter_start_wh` None: the event that came first did not say; it is taken from the start when that
    comes. `in_start`: this is the start itself. `clock_known` False: `started_at` is when it was told.
    `may_have_begun_at`: by our clock, the likeliest first; empty where it is as the station says."""

    connector_number: int
    id_tag: str
    started_at: UtcDatetime
    meter_start_wh: float | None
    transaction_ref: str | None = None
    remote_start_id: int | None = None
    in_start: bool = True
    clock_known: bool = True
    may_have_begun_at: list[UtcDatetime] = []


@dataclass(frozen=True, slots=True)
class Told:
    """One message or sample of a transaction, as it goes to the journal. `kind`: start, meter, update, stop.
    `transaction_id` None: it matches none that we know."""

    kind: str
    connector_number: int
    observed_at: datetime
    transaction_id: int | None = None
    sequence: int | None = None
    offline: bool = False
    register_wh: float | None = None
    unit_known: bool = True
    power_kw: float | None = None
    soc_percent: float | None = None
    body: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class EndOfTransaction:
    """`meter_stop_wh` None: it did not say. `reason`: generation and the station's own word
    ("ocpp1.6:Local"). `findings`: checks that the end itself did not pass."""

    ended_at: datetime
    meter_stop_wh: float | None
    reason: str
    findings: tuple[str, ...] = ()
    clock_known: bool = True


@dataclass(frozen=True, slots=True)
class ConnectorFacts:
    charger_id: str
    status: ConnectorStatus
    status_at: datetime
    state_since: datetime
    changes_last_hour: int
    fault_code: str


def is_lost(reason: str) -> bool:
    """Whether an end (EndOfTransaction.reason) is our own conclusion from the station's silence."""
    return reason.endswith(f":{LOST}")


EvidenceOf = Callable[[TransactionFacts], list[RoutedEvidence]]


class House(Protocol):
    """Everything returns once it is durable; what many stations say in one moment shares one commit."""

    async def authenticate(self, shown: Credentials) -> StationInfo | None:
        """None for an unknown station, a wrong password, a wrong certificate and a profile below the agreed
        one alike, after the same work."""
        ...

    async def refreshed(self, station: StationInfo) -> StationInfo:
        """The station as it is set now: an operator may have changed it since it connected."""
        ...

    async def claim(self, station: StationInfo, generation: str, version: str) -> datetime | None:
        """Returns since when it was away, where stops were told so (`went_away`)."""
        ...

    async def release(self, station: StationInfo, generation: str) -> None: ...

    async def went_away(
        self, station: StationInfo, generation: str, since: datetime, evidence: list[RoutedEvidence]
    ) -> bool:
        """The evidence that the station is away, unless a newer connection holds it by now (False)."""
        ...

    async def came_back(self, station: StationInfo, since: datetime, evidence: list[RoutedEvidence]) -> None:
        """The end of the absence that began `since`, and its evidence, in one commit."""
        ...

    async def expects_start(self, station: StationInfo, connector_number: int, at: datetime) -> bool:
        """Whether an attempt of ours waits for its start at the connector."""
        ...

    async def knows_token(self, station: StationInfo, token: str) -> bool:
        """A token of an attempt of ours at this station, or strangers may charge there."""
        ...

    async def start(
        self, station: StationInfo, start: StartOfTransaction, told: list[Told], evidence_of: EvidenceOf
    ) -> TransactionFacts:
        """The same start told again gives the same transaction."""
        ...

    async def find(
        self,
        station: StationInfo,
        *,
        transaction_id: int | None = None,
        transaction_ref: str | None = None,
        ended_at: datetime | None = None,
    ) -> TransactionFacts | None:
        """The newest that fits all that is given."""
        ...

    async def open_transactions(self, station: StationInfo) -> list[tuple[TransactionFacts, Register]]:
        """With what their registers have shown so far."""
        ...

    async def record(self, station: StationInfo, told: list[Told], evidence: list[RoutedEvidence]) -> None:
        """Journal and evidence in one commit."""
        ...

    async def end(
        self,
        station: StationInfo,
        facts: TransactionFacts,
        end: EndOfTransaction,
        told: list[Told],
        evidence_of: EvidenceOf,
    ) -> TransactionFacts:
        """The first end stands; energy is folded from the whole journal of the transaction."""
        ...

    async def late(
        self, station: StationInfo, facts: TransactionFacts, told: list[Told], evidence_of: EvidenceOf
    ) -> None:
        """Told of a transaction after its end: kept, and its energy folded again. What the evidence has said
        before is not said again."""
        ...

    async def connector(
        self, station: StationInfo, facts: ConnectorFacts | None, evidence: list[RoutedEvidence]
    ) -> None: ...

    async def booted(self, station: StationInfo, identity: StationIdentity, at: datetime) -> None: ...

    async def note(self, station: StationInfo, event: StationEvent) -> None:
        """A line of the station's log."""
        ...

    async def keep(self, station: StationInfo, reason: str, raw: bytes) -> None:
        """Quarantine: what was answered, and could not be used."""
        ...

    async def limits_in_force(self, station: StationInfo) -> list[ChargingLimit]:
        """What was set, and neither refused nor cleared since; no failsafe. Each with its start."""
        ...

    async def limit(self, limit: ChargingLimit, reply: LimitReply) -> None:
        """How far a charging limit got."""
        ...

    async def sign(self, station: StationInfo, csr_pem: str) -> str | None:
        """A certificate chain for a station's signing request (PEM); None: refused, or no authority here."""
        ...

    async def offer_password(self, station: StationInfo, password: bytes) -> None:
        """From now on this password opens too, until the station's answer is known."""
        ...

    async def password_answered(self, station: StationInfo, accepted: bool) -> None:
        """The station's answer to the password that was offered to it."""
        ...
