"""Enumerations of OCPI 2.2.1 that we act on. Values beyond them are kept as text (wire.tolerant)."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from connectors.ocpi.wire import tolerant


class EvseStatus(StrEnum):
    AVAILABLE = "AVAILABLE"
    BLOCKED = "BLOCKED"
    CHARGING = "CHARGING"
    INOPERATIVE = "INOPERATIVE"
    OUTOFORDER = "OUTOFORDER"
    PLANNED = "PLANNED"
    REMOVED = "REMOVED"
    RESERVED = "RESERVED"
    UNKNOWN = "UNKNOWN"


class SessionStatus(StrEnum):
    ACTIVE = "ACTIVE"
    COMPLETED = "COMPLETED"
    INVALID = "INVALID"
    PENDING = "PENDING"
    RESERVATION = "RESERVATION"
    RESERVED = "RESERVED"
    """The prose of 2.2.1 says RESERVED where the enum says RESERVATION: both are met."""


class CommandType(StrEnum):
    CANCEL_RESERVATION = "CANCEL_RESERVATION"
    RESERVE_NOW = "RESERVE_NOW"
    START_SESSION = "START_SESSION"
    STOP_SESSION = "STOP_SESSION"
    UNLOCK_CONNECTOR = "UNLOCK_CONNECTOR"


class CommandResponseType(StrEnum):
    """The synchronous answer: whether the partner will try."""

    NOT_SUPPORTED = "NOT_SUPPORTED"
    REJECTED = "REJECTED"
    ACCEPTED = "ACCEPTED"
    UNKNOWN_SESSION = "UNKNOWN_SESSION"


class CommandResultType(StrEnum):
    """The asynchronous answer: what the charge point said."""

    ACCEPTED = "ACCEPTED"
    CANCELED_RESERVATION = "CANCELED_RESERVATION"
    EVSE_OCCUPIED = "EVSE_OCCUPIED"
    EVSE_INOPERATIVE = "EVSE_INOPERATIVE"
    FAILED = "FAILED"
    NOT_SUPPORTED = "NOT_SUPPORTED"
    REJECTED = "REJECTED"
    TIMEOUT = "TIMEOUT"
    UNKNOWN_RESERVATION = "UNKNOWN_RESERVATION"


class TokenType(StrEnum):
    AD_HOC_USER = "AD_HOC_USER"
    APP_USER = "APP_USER"
    OTHER = "OTHER"
    RFID = "RFID"


class Whitelist(StrEnum):
    ALWAYS = "ALWAYS"
    ALLOWED = "ALLOWED"
    ALLOWED_OFFLINE = "ALLOWED_OFFLINE"
    NEVER = "NEVER"


class TariffDimension(StrEnum):
    ENERGY = "ENERGY"
    FLAT = "FLAT"
    PARKING_TIME = "PARKING_TIME"
    TIME = "TIME"


class InterfaceRole(StrEnum):
    SENDER = "SENDER"
    RECEIVER = "RECEIVER"


class PartyKind(StrEnum):
    CPO = "CPO"
    EMSP = "EMSP"
    HUB = "HUB"
    NAP = "NAP"
    NSP = "NSP"
    OTHER = "OTHER"
    SCSP = "SCSP"


EvseStatusText = Annotated[EvseStatus | str, tolerant(EvseStatus)]
SessionStatusText = Annotated[SessionStatus | str, tolerant(SessionStatus)]
CommandResponseText = Annotated[CommandResponseType | str, tolerant(CommandResponseType)]
CommandResultText = Annotated[CommandResultType | str, tolerant(CommandResultType)]
TokenTypeText = Annotated[TokenType | str, tolerant(TokenType)]
WhitelistText = Annotated[Whitelist | str, tolerant(Whitelist)]
TariffDimensionText = Annotated[TariffDimension | str, tolerant(TariffDimension)]
InterfaceRoleText = Annotated[InterfaceRole | str, tolerant(InterfaceRole)]
PartyKindText = Annotated[PartyKind | str, tolerant(PartyKind)]
