"""Sampled values of a charge point's meter in both dialects, with the ways in which real meters mislead."""

from __future__ import annotations

import hashlib
import json

from simulators.charge_point.session import Flow, Json, Session
from simulators.twin import FaultKind

_ENERGY = "Energy.Active.Import.Register"
_PUBLIC_KEY = hashlib.sha256(b"simulated meter").hexdigest()


def ocmf(register_wh: float, at: str) -> str:
    """An Open Charge Metering Format record. The signature has the right form and proves nothing."""
    reading = {"TM": f"{at} S", "RV": round(register_wh / 1000, 4), "RI": "1-b:1.8.0", "RU": "kWh", "ST": "G"}
    data = json.dumps({"FV": "1.0", "PG": "T1", "MS": "TWIN-METER", "RD": [reading]}, separators=(",", ":"))
    digest = hashlib.sha256(data.encode()).hexdigest()
    return f'OCMF|{data}|{{"SA":"ECDSA-secp256r1-SHA256","SD":"{digest}"}}'


def samples_16(session: Session, flow: Flow, at: str, context: str = "Sample.Periodic") -> list[Json]:
    """OCPP 1.6 section 7.43: values are strings; measurand and unit may be left out."""
    register_wh = session.register_wh
    energy: Json = {"value": f"{register_wh:.1f}", "measurand": _ENERGY, "unit": "Wh"}
    if _in_kwh(session):
        energy = {"value": str(register_wh / 1000), "measurand": _ENERGY, "unit": "kWh"}
    if FaultKind.MISSING_METER_FIELDS in session.faults:
        return [{"value": f"{register_wh:.1f}"}]
    sampled: list[Json] = [energy | ({} if context == "Sample.Periodic" else {"context": context})]
    if FaultKind.SIGNED_METER in session.faults:
        signed: Json = {"value": ocmf(register_wh, at), "format": "SignedData", "measurand": _ENERGY}
        sampled.insert(0, signed | {"context": context})
    sampled += [
        {"value": f"{flow.power_kw * 1000:.0f}", "measurand": "Power.Active.Import", "unit": "W"},
        {"value": f"{flow.offered_kw * 1000:.0f}", "measurand": "Power.Offered", "unit": "W"},
        {"value": f"{flow.offered_a:.1f}", "measurand": "Current.Offered", "unit": "A"},
    ]
    if flow.soc_percent is not None:
        sampled.append({"value": f"{flow.soc_percent:.0f}", "measurand": "SoC", "unit": "Percent"})
    return sampled


def samples_2x(session: Session, flow: Flow, at: str, context: str = "Sample.Periodic") -> list[Json]:
    """OCPP 2.0.1 part 2, SampledValueType: no measurand means the energy register, no unit means Wh."""
    register_wh = session.register_wh
    energy: Json = {"value": register_wh, "measurand": _ENERGY, "unitOfMeasure": {"unit": "Wh"}}
    if _in_kwh(session):
        energy |= {"value": register_wh / 1000, "unitOfMeasure": {"unit": "kWh"}}
    if FaultKind.MISSING_METER_FIELDS in session.faults:
        return [{"value": register_wh}]
    if FaultKind.SIGNED_METER in session.faults:
        energy["signedMeterValue"] = {
            "signedMeterData": ocmf(register_wh, at),
            "signingMethod": "ECDSA-secp256r1-SHA256",
            "encodingMethod": "OCMF",
            "publicKey": _PUBLIC_KEY,
        }
    sampled: list[Json] = [
        energy | ({} if context == "Sample.Periodic" else {"context": context}),
        {"value": flow.power_kw, "measurand": "Power.Active.Import", "unitOfMeasure": {"unit": "kW"}},
        {"value": flow.offered_kw, "measurand": "Power.Offered", "unitOfMeasure": {"unit": "kW"}},
        {"value": flow.offered_a, "measurand": "Current.Offered", "unitOfMeasure": {"unit": "A"}},
    ]
    if flow.soc_percent is not None:
        soc: Json = {"value": flow.soc_percent, "measurand": "SoC", "unitOfMeasure": {"unit": "Percent"}}
        sampled.append(soc)
    return sampled


def _in_kwh(session: Session) -> bool:
    """Every second reading."""
    return FaultKind.KWH_AND_WH_MIXED in session.faults and session.readings % 2 == 1
