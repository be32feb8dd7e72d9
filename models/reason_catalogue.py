"""The reason catalogue as everyone reads it: by our code, or backwards from a partner's word.

Backward look-ups answer None for a word they do not know: the caller keeps it raw beside our code
(unknown input never stops a loop). Several codes of ours may share a partner's word (a ground failure strikes
while starting or while charging); `phase` says which is meant, else the earliest phase wins.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from models.reason_codes import Party, Phase, ReasonCode, ReasonEntry
from models.reason_rows import ROWS

CATALOGUE: Mapping[ReasonCode, ReasonEntry] = MappingProxyType({row.code: row for row in ROWS})
"""Every `ReasonCode`, in its order."""

_U, _O, _C, _V = Party.DRIVER, Party.OPERATOR, Party.CHARGER, Party.VEHICLE

MREC: Mapping[str, tuple[str, tuple[Party, ...]]] = MappingProxyType(
    {
        "CX001": ("ConnectorLockFailure", (_U, _V)),
        "CX002": ("GroundFailure", (_C, _V)),
        "CX003": ("HighTemperature", (_C,)),
        "CX004": ("OverCurrentFailure", (_C, _V)),
        "CX005": ("OverVoltage", (_C, _V)),
        "CX006": ("UnderVoltage", (_C, _V)),
        "CX007": ("WeakSignal", (_O, _C)),
        "CX008": ("EmergencyStop", (_U, _C)),
        "CX009": ("AuthorizationTimeout", (_U, _O, _C, _V)),
        "CX010": ("InvalidVehicleMode", (_U, _V)),
        "CX011": ("CableCheckFailure", (_C, _V)),
        "CX012": ("PreChargeFailure", (_C, _V)),
        "CX013": ("NoInternet", (_O, _C)),
        "CX014": ("PilotFault", (_C, _V)),
        "CX015": ("PowerLoss", (_C,)),
        "CX016": ("EVContactorFault", (_V,)),
        "CX017": ("EVSEContactorFault", (_C,)),
        "CX018": ("CableOverTempDerate", (_C,)),
        "CX019": ("CableOverTempStop", (_C, _V)),
        "CX020": ("PartialInsertion", (_U, _C, _V)),
        "CX021": ("CapacitanceFault", (_C, _V)),
        "CX022": ("ResistanceFault", (_C, _V)),
        "CX023": ("ProximityFault", (_C, _V)),
        "CX024": ("ConnectorVoltageHigh", (_C,)),
        "CX025": ("BrokenLatch", (_O, _C)),
        "CX026": ("CutCable", (_O, _C)),
    }
)
"""ChargeX Minimum Required Error Codes (INL, 2023): code to name and the parties who may be responsible."""

_MREC_BY_NAME = {name.lower(): code for code, (name, _) in MREC.items()}


def entry(code: ReasonCode) -> ReasonEntry:
    """The row of a code. Total: every code has one."""
    return CATALOGUE[code]


def from_mrec(value: str | None, phase: Phase | None = None) -> ReasonCode | None:
    """From a ChargeX code (`CX002`) or its name (`GroundFailure`), in any case."""
    word = (value or "").strip()
    return _find(_BY_MREC, _MREC_BY_NAME.get(word.lower(), word.upper()), phase)


def from_ocpp16_error(error_code: str | None, phase: Phase | None = None) -> ReasonCode | None:
    """From an OCPP 1.6 ChargePointErrorCode. `NoError` is no reason: None."""
    return _find(_BY_OCPP16, f"errorCode:{error_code}", phase)


def from_ocpp16_stop_reason(reason: str | None, phase: Phase | None = None) -> ReasonCode | None:
    """From an OCPP 1.6 StopTransaction.req reason; absent means Local (edition 2, section 7.36).
    `Other` says nothing: None. Whether an end was early is the caller's to judge."""
    return _find(_BY_OCPP16, f"reason:{reason or 'Local'}", phase)


def from_ocpp16_id_tag_status(status: str | None, phase: Phase | None = None) -> ReasonCode | None:
    """From an OCPP 1.6 AuthorizationStatus. `Accepted` is no reason: None."""
    return _find(_BY_OCPP16, f"idTag:{status}", phase)


def from_ocpp201_stopped_reason(reason: str | None, phase: Phase | None = None) -> ReasonCode | None:
    """From an OCPP 2.x transactionInfo.stoppedReason; absent means Local (2.0.1, section 3.68)."""
    return _find(_BY_OCPP201, f"stoppedReason:{reason or 'Local'}", phase)


def from_ocpp201_trigger(trigger: str, phase: Phase | None = None) -> ReasonCode | None:
    """From an OCPP 2.x triggerReason that is a reason of failure (2.0.1, section 3.86); else None."""
    return _find(_BY_OCPP201, f"trigger:{trigger}", phase)


def from_ocpp201_reason_code(reason_code: str | None, phase: Phase | None = None) -> ReasonCode | None:
    """From statusInfo.reasonCode of an OCPP 2.x refusal."""
    return _find(_BY_OCPP201, f"reasonCode:{reason_code}", phase)


def from_ocpp201_id_token_status(status: str | None, phase: Phase | None = None) -> ReasonCode | None:
    """From an OCPP 2.x AuthorizationStatus. `Accepted` is no reason: None."""
    return _find(_BY_OCPP201, f"idToken:{status}", phase)


def from_ocpi_command_result(result: str | None, phase: Phase | None = None) -> ReasonCode | None:
    """From an OCPI 2.2.1 CommandResultType. `ACCEPTED` is no reason: None."""
    return _find(_BY_OCPI, f"commandResult:{result}", phase)


def from_ocpi_command_response(response: str | None, phase: Phase | None = None) -> ReasonCode | None:
    """From an OCPI 2.2.1 CommandResponseType (the synchronous answer). `ACCEPTED` is no reason: None."""
    return _find(_BY_OCPI, f"commandResponse:{response}", phase)


def _index(words: Callable[[ReasonEntry], tuple[str, ...]]) -> dict[str, tuple[ReasonCode, ...]]:
    index: dict[str, tuple[ReasonCode, ...]] = {}
    for row in ROWS:
        for word in words(row):
            index[word] = (*index.get(word, ()), row.code)
    return index


def _find(index: Mapping[str, tuple[ReasonCode, ...]], word: str, phase: Phase | None) -> ReasonCode | None:
    codes = index.get(word, ())
    for code in codes:
        if code.phase is phase:
            return code
    return codes[0] if codes else None


_BY_MREC = _index(lambda row: row.mrec)
_BY_OCPP16 = _index(lambda row: row.ocpp16)
_BY_OCPP201 = _index(lambda row: row.ocpp201)
_BY_OCPI = _index(lambda row: row.ocpi)
