"""Fault codes of both generations, decoded by (vendor, code) only (ChargeX MREC, OCPP 1.6 section 7.6)."""

from __future__ import annotations

from models.reason_catalogue import from_mrec, from_ocpp16_error
from models.reason_codes import Phase, ReasonCode

MREC_VENDOR = "https://chargex.inl.gov"
_MREC_VENDORS = (MREC_VENDOR, "com.evgo.mrec")


def fault_reason(error_code: str, vendor_id: str, vendor_code: str, phase: Phase) -> ReasonCode:
    """The reason of a fault: the first MREC code of the list, else the standard error code, else the plain
    fault of the phase. Other vendors' codes are kept as words and decide nothing."""
    if vendor_id in _MREC_VENDORS or not vendor_id:
        for code in vendor_code.split(","):
            found = from_mrec(code.strip(), phase)
            if found is not None:
                return found
    return from_ocpp16_error(error_code, phase) or plain_fault(phase)


def plain_fault(phase: Phase) -> ReasonCode:
    return ReasonCode.SUSTAIN_EVSE_FAULT if phase is Phase.SUSTAIN else ReasonCode.CONFIRM_EVSE_FAULT
