"""What callers write to stations, and what they read of them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, cast

from pydantic import BaseModel, Field, model_validator

from models.base import StrictMessage, UtcDatetime
from models.charger import Charger, Protocol, TariffTerms
from models.charging_limit import ChargingTraits, LimitPeriod, LimitPurpose
from models.ids import ExternalId, canonical_json
from models.place import Place
from models.station import Admission, StationEvent, StationEventKind, StationRecord
from models.station_commands import StationReply
from models.vehicle import ConnectorStandard
from store.stations import StationTransaction, StoredLimit, VendorField

StationPathId = Annotated[str, Field(pattern=r"^[A-Za-z0-9*\-_=|@.]{1,48}$")]
_DEEPEST = 30
_NOT_IN_CHARGER_IDS = str.maketrans("=|@", "~~~")


class ConnectorBody(StrictMessage):
    """One connector, as planning needs it: the fields of a charger that its station does not give."""

    number: Annotated[int, Field(ge=1, le=100, description="OCPP connectorId, or the EVSE number in 2.x.")]
    charger_id: Annotated[ExternalId | None, Field(description="Default: the station's id and number.")] = (
        None
    )
    standard: Annotated[ConnectorStandard, Field(examples=["IEC_62196_T2_COMBO"])]
    power_kw: Annotated[float, Field(gt=0, le=10_000, examples=[150.0])]
    place: Place
    site_id: Annotated[ExternalId, Field(examples=["depot-1"])]
    operator: Annotated[str, Field(max_length=100, examples=["Stadtwerke"])]
    network: Annotated[str, Field(max_length=100, examples=["own"])]
    region: Annotated[str, Field(max_length=50)] = ""
    tariff: TariffTerms | None = None
    open_always: bool | None = None
    plannable: bool = True

    def charger(self, station_id: str, known_id: str | None) -> Charger:
        """As a charger; `known_id`: what this connector is called already."""
        made = f"{station_id.translate(_NOT_IN_CHARGER_IDS)}-{self.number}"
        return Charger.model_validate(
            {
                **self.model_dump(exclude={"number", "charger_id"}),
                "charger_id": self.charger_id or known_id or made,
                "protocol": Protocol.OCPP,
                "station_id": station_id,
                "connector_number": self.number,
            }
        )


class TraitsBody(ChargingTraits, extra="forbid"):
    """How the station wants its charging profiles."""


class StationBody(StrictMessage):
    """A station's settings and connectors. What is left out stays as it is; of a new station it has its
    default. Connectors that are not listed stay."""

    security_profile: Annotated[
        int, Field(ge=0, le=3, description="1 Basic, 2 Basic over TLS, 3 client certificate.")
    ] = 1
    admission: Admission = Admission.ACCEPTED
    protocol_pin: Annotated[
        Literal["ocpp1.6", "ocpp2.0.1", "ocpp2.1"] | None, Field(description="The one version it may speak.")
    ] = None
    foreign_tokens: Annotated[bool, Field(description="Strangers may charge here.")] = False
    traits: TraitsBody = TraitsBody()
    failsafe_kw: Annotated[
        float | None, Field(ge=0, le=100_000, description="Installed at boot, shared equally.")
    ] = None
    phases: Annotated[int | None, Field(ge=1, le=3, description="Null: direct current.")] = None
    connectors: Annotated[tuple[ConnectorBody, ...], Field(max_length=100)] = ()
    allow_downgrade: Annotated[bool, Field(description="The security profile may be lowered.")] = False
    replace_password: Annotated[
        bool, Field(description="Make a new password; the old one opens no more, at once.")
    ] = False

    @model_validator(mode="after")
    def _names_each_once(self) -> Self:
        numbers = [connector.number for connector in self.connectors]
        ids = [connector.charger_id for connector in self.connectors if connector.charger_id]
        if len(set(numbers)) < len(numbers) or len(set(ids)) < len(ids):
            raise ValueError("a connector is listed once")
        return self

    def settings(self) -> dict[str, Any]:
        """What was said of the station itself."""
        other = {"connectors", "allow_downgrade", "replace_password"}
        return self.model_dump(exclude_unset=True, exclude=other)


class StationCredentials(BaseModel):
    """Shown once. `password_hex`: how a 1.6 station wants it (AuthorizationKey)."""

    username: str
    password: str
    password_hex: str


class StationDetail(BaseModel):
    """A station with its connectors (and their health), and what charges there now."""

    object: Literal["station"] = "station"
    station: StationRecord
    connectors: list[Charger]
    open_transactions: list[StationTransaction]


class StationWritten(StationDetail):
    """`credentials`: of a new station, or of a replaced password, and never again. `reconnect_needed`: the
    station is connected under its former settings; it takes the new ones at its next connection."""

    created: bool
    credentials: StationCredentials | None = None
    reconnect_needed: bool = False


class StationPage(BaseModel):
    object: Literal["list"] = "list"
    data: list[StationRecord]
    next_after: str | None = None


class LogLine(BaseModel):
    position: int
    event: StationEvent


class StationLog(BaseModel):
    """Newest first. Ask again with `before` = `next_before` until it is null."""

    object: Literal["list"] = "list"
    station_id: str
    kind: StationEventKind | None = None
    data: list[LogLine]
    next_before: int | None = None


class TransactionPage(BaseModel):
    """Newest first. Ask again with `before` = `next_before` until it is null."""

    object: Literal["list"] = "list"
    station_id: str
    data: list[StationTransaction]
    next_before: int | None = None


class LimitList(BaseModel):
    """The newest limit of each connector and purpose, and how far it got."""

    object: Literal["list"] = "list"
    station_id: str
    data: list[StoredLimit]


class VendorFieldList(BaseModel):
    object: Literal["list"] = "list"
    data: list[VendorField]


class CommandBody(StrictMessage):
    """One OCPP CALL, in the words of the version that the station speaks."""

    action: Annotated[str, Field(pattern=r"^[A-Za-z0-9]{1,50}$", examples=["Reset"])]
    payload: Annotated[dict[str, Any], Field(examples=[{"type": "Soft"}])] = {}
    timeout_s: Annotated[float, Field(gt=0, le=300, description="For the station to answer.")] = 30.0

    @model_validator(mode="after")
    def _is_plain_json(self) -> Self:
        """No NaN, no half of a surrogate pair, no tower of brackets: no station could be told of them."""
        if _depth(self.payload) > _DEEPEST:
            raise ValueError("the payload is nested too deeply")
        canonical_json(self.payload)
        return self


def _depth(value: Any) -> int:
    """Levels of lists and objects, counted no further than the limit."""
    level: list[Any] = [value]
    depth = 0
    while level and depth <= _DEEPEST:
        level = [item for each in level for item in _inside(each)]
        depth += 1
    return depth


def _inside(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(cast("dict[str, Any]", value).values())
    return cast("list[Any]", value) if isinstance(value, list) else []


class TaskBody(StrictMessage):
    """What has nothing to say but how long to wait."""

    timeout_s: Annotated[float, Field(gt=0, le=300, description="For the station to answer.")] = 30.0


class LimitBody(StrictMessage):
    """A limit for one connector; connector 0 is the whole station. Give `limit_kw`, or `periods`."""

    purpose: Annotated[
        LimitPurpose | None, Field(description="Default: `station` at connector 0, else `default`.")
    ] = None
    limit_kw: Annotated[float | None, Field(ge=0, le=10_000, examples=[22.0])] = None
    periods: Annotated[tuple[LimitPeriod, ...], Field(max_length=100)] = ()
    phases: Annotated[
        Literal[1, 2, 3] | None,
        Field(description="Left out: as the station is set. Null: direct current."),
    ] = None
    voltage_v: Annotated[float, Field(gt=0, le=1500)] = 230.0
    starts_at: UtcDatetime | None = None
    duration_s: Annotated[int | None, Field(gt=0)] = None
    session_ref: Annotated[
        str | None, Field(max_length=64, description="The transaction, for purpose `transaction`.")
    ] = None

    @model_validator(mode="after")
    def _says_how_much(self) -> Self:
        if (self.limit_kw is None) == (not self.periods):
            raise ValueError("give limit_kw or periods")
        return self


class CommandView(BaseModel):
    """A command to a station. `reply` is what came of it, once `status` is `done`; `lost`: the engine ended
    it, and what the station did is not known."""

    object: Literal["station_command"] = "station_command"
    command_id: str
    station_id: str
    kind: str
    action: str = ""
    status: Literal["running", "done", "lost"]
    reply: StationReply | None = None
