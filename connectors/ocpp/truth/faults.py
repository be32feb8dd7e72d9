"""Fault codes of both generations, decoded by (vendor, code) only (ChargeX MREC, OCPP 1.6 section 7.6)."""

from __future__ import annotations

from models.reason_catalogue import from_mrec, from_ocpp16_error
from models.reason_codes import Phase, ReasonCode

MREC_VENDOR = "https://chargex.inl.gov"
_MREC_VENDORS = (MREC_VENDOR, "com.evgo.mrec")
_MREC_WORDS = "mrec:"


def fault_reason(error_code: str, vendor_id: str, vendor_code: str, phase: Phase) -> ReasonCode:
    """The reason of a fault: the first MREC code of the list, else the standard error code, else the plain
    fault of the phase. Other vendors' codes are kept as words and decide nothing."""
    found = mrec_of(vendor_code, phase) if vendor_id in _MREC_VENDORS or not vendor_id else None
    return found or from_ocpp16_error(error_code, phase) or plain_fault(phase)


def mrec_of(codes: str, phase: Phase) -> ReasonCode | None:
    """The reason of the first MREC code in a list by comma; None where there is none."""
    found = (from_mrec(code.strip(), phase) for code in codes.split(","))
    return next((reason for reason in found if reason is not None), None)


def mrec_words(codes: str) -> str:
    """Our vendor code of a 2.x techCode; `known_fault` reads it again."""
    return f"{_MREC_WORDS}{codes}"


def known_fault(words: str, phase: Phase) -> ReasonCode:
    """The reason behind a vendor code of ours, where it says one."""
    codes = words.removeprefix(_MREC_WORDS)
    return (mrec_of(codes, phase) if codes != words else None) or plain_fault(phase)


def plain_fault(phase: Phase) -> ReasonCode:
    return ReasonCode.SUSTAIN_EVSE_FAULT if phase is Phase.SUSTAIN else ReasonCode.CONFIRM_EVSE_FAULT
