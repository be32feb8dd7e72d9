"""The configuration of a simulated charge point: 1.6 keys and 2.x component variables, one table for both.

OCPP 1.6 section 9 and security white paper; OCPP 2.0.1 part 2 appendix 3. Values are strings on the wire.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from simulators.charge_point.device_state import OcppVersion

Kind = Literal["boolean", "integer", "string", "SequenceList", "OptionList", "MemberList"]
Access = Literal["ReadOnly", "ReadWrite", "WriteOnly"]
Change = Literal["Accepted", "Rejected", "RebootRequired"]


@dataclass(frozen=True)
class Setting:
    """`key`: its 1.6 name, `variable`: its 2.x name, Component.Variable or Component.Variable.Instance; ""
    where the version has none. `pattern`: what a new value must match."""

    key: str
    variable: str
    value: str
    kind: Kind = "string"
    access: Access = "ReadWrite"
    pattern: str = ".*"
    needs_reboot: bool = False

    def takes(self, value: str) -> bool:
        if self.kind == "boolean":
            return value.lower() in ("true", "false")
        if self.kind == "integer":
            return re.fullmatch(r"\d{1,9}", value) is not None
        return re.fullmatch(self.pattern, value) is not None


_MEASURANDS = "Energy.Active.Import.Register,Power.Active.Import,Current.Offered,SoC"
_PROFILES = "Core,FirmwareManagement,LocalAuthListManagement,Reservation,SmartCharging,RemoteTrigger"
_WORDS = r"[A-Za-z0-9.\-]*(,[A-Za-z0-9.\-]+)*"


def _switch(key: str, variable: str, on: bool = True, access: Access = "ReadWrite") -> Setting:
    return Setting(key, variable, "true" if on else "false", "boolean", access)


def _whole(
    key: str, variable: str, value: int, access: Access = "ReadWrite", reboot: bool = False
) -> Setting:
    return Setting(key, variable, str(value), "integer", access, needs_reboot=reboot)


def _words(key: str, variable: str, value: str = _MEASURANDS) -> Setting:
    return Setting(key, variable, value, "MemberList", pattern=_WORDS)


def _fixed(key: str, variable: str, value: str, kind: Kind = "string") -> Setting:
    return Setting(key, variable, value, kind, "ReadOnly")


SETTINGS: tuple[Setting, ...] = (
    _whole("HeartbeatInterval", "OCPPCommCtrlr.HeartbeatInterval", 30),
    _whole("ConnectionTimeOut", "TxCtrlr.EVConnectionTimeOut", 60),
    _whole("MeterValueSampleInterval", "SampledDataCtrlr.TxUpdatedInterval", 60),
    _whole("", "SampledDataCtrlr.TxEndedInterval", 0),
    _words("MeterValuesSampledData", "SampledDataCtrlr.TxUpdatedMeasurands"),
    _words("", "SampledDataCtrlr.TxStartedMeasurands", "Energy.Active.Import.Register"),
    _words("StopTxnSampledData", "SampledDataCtrlr.TxEndedMeasurands", "Energy.Active.Import.Register"),
    _whole("ClockAlignedDataInterval", "AlignedDataCtrlr.Interval", 0),
    _words("MeterValuesAlignedData", "AlignedDataCtrlr.Measurands", "Energy.Active.Import.Register"),
    _words("StopTxnAlignedData", "AlignedDataCtrlr.TxEndedMeasurands", ""),
    _whole("ResetRetries", "OCPPCommCtrlr.ResetRetries", 2),
    _whole("WebSocketPingInterval", "OCPPCommCtrlr.WebSocketPingInterval", 30, reboot=True),
    _whole("TransactionMessageAttempts", "OCPPCommCtrlr.MessageAttempts.TransactionEvent", 5),
    _whole("TransactionMessageRetryInterval", "OCPPCommCtrlr.MessageAttemptInterval.TransactionEvent", 2),
    _whole("", "OCPPCommCtrlr.MessageTimeout.Default", 30, "ReadOnly"),
    _fixed("", "OCPPCommCtrlr.FileTransferProtocols", "HTTP,HTTPS,FTP,SFTP", "MemberList"),
    Setting("", "OCPPCommCtrlr.NetworkConfigurationPriority", "1", "SequenceList", pattern=_WORDS),
    _switch("UnlockConnectorOnEVSideDisconnect", "OCPPCommCtrlr.UnlockOnEVSideDisconnect"),
    _switch("AuthorizeRemoteTxRequests", "AuthCtrlr.AuthorizeRemoteStart", on=False),
    _switch("LocalAuthorizeOffline", "AuthCtrlr.LocalAuthorizeOffline"),
    _switch("LocalPreAuthorize", "AuthCtrlr.LocalPreAuthorize", on=False),
    _switch("AllowOfflineTxForUnknownId", "AuthCtrlr.OfflineTxForUnknownIdEnabled", on=False),
    _switch("AuthorizationCacheEnabled", "AuthCacheCtrlr.Enabled"),
    _switch("LocalAuthListEnabled", "LocalAuthListCtrlr.Enabled"),
    _whole("LocalAuthListMaxLength", "LocalAuthListCtrlr.Entries", 500, "ReadOnly"),
    _whole("SendLocalListMaxLength", "LocalAuthListCtrlr.ItemsPerMessage", 100, "ReadOnly"),
    _switch("StopTransactionOnInvalidId", "TxCtrlr.StopTxOnInvalidId"),
    _switch("StopTransactionOnEVSideDisconnect", "TxCtrlr.StopTxOnEVSideDisconnect"),
    Setting("", "TxCtrlr.TxStartPoint", "PowerPathClosed", "MemberList", pattern=_WORDS),
    Setting("", "TxCtrlr.TxStopPoint", "EVConnected,Authorized", "MemberList", pattern=_WORDS),
    _switch("ReserveConnectorZeroSupported", "ReservationCtrlr.NonEvseSpecific", access="ReadOnly"),
    _switch("", "ReservationCtrlr.Available", access="ReadOnly"),
    _switch("", "SmartChargingCtrlr.Enabled"),
    _switch("", "SmartChargingCtrlr.Available", access="ReadOnly"),
    _whole("ChargeProfileMaxStackLevel", "SmartChargingCtrlr.ProfileStackLevel", 9, "ReadOnly"),
    _whole("ChargingScheduleMaxPeriods", "SmartChargingCtrlr.PeriodsPerSchedule", 24, "ReadOnly"),
    _whole("MaxChargingProfilesInstalled", "SmartChargingCtrlr.Entries.ChargingProfiles", 50, "ReadOnly"),
    _fixed("ChargingScheduleAllowedChargingRateUnit", "SmartChargingCtrlr.RateUnit", "", "MemberList"),
    _fixed("SupportedFeatureProfiles", "", _PROFILES, "MemberList"),
    _fixed("NumberOfConnectors", "", "", "integer"),
    _whole("GetConfigurationMaxKeys", "DeviceDataCtrlr.ItemsPerMessage.GetVariables", 100, "ReadOnly"),
    _whole("", "DeviceDataCtrlr.ItemsPerMessage.GetReport", 100, "ReadOnly"),
    _whole("", "DeviceDataCtrlr.BytesPerMessage.GetVariables", 65536, "ReadOnly"),
    Setting("ConnectorPhaseRotation", "", "0.RST", "MemberList", pattern=_WORDS),
    _whole("MinimumStatusDuration", "", 0),
    _switch("SupportsTimeOffset", "ClockCtrlr.TimeOffsetSupported", on=False, access="ReadOnly"),
    _fixed("", "ClockCtrlr.TimeSource", "Heartbeat", "SequenceList"),
    Setting("AuthorizationKey", "", "", access="WriteOnly", pattern="([0-9A-Fa-f]{2}){16,20}"),
    Setting("", "SecurityCtrlr.BasicAuthPassword", "", access="WriteOnly", pattern=r"[\x21-\x7E]{16,40}"),
    Setting("SecurityProfile", "", "1", "integer"),
    _fixed("", "SecurityCtrlr.SecurityProfile", "1", "integer"),
    Setting("CpoName", "SecurityCtrlr.OrganizationName", "Backstop twin", pattern=".{1,50}"),
    _fixed("ChargePointSerialNumber", "SecurityCtrlr.Identity", ""),
    _whole("CertificateStoreMaxLength", "SecurityCtrlr.CertificateEntries", 8, "ReadOnly"),
    _switch(
        "AdditionalRootCertificateCheck", "SecurityCtrlr.AdditionalRootCertificateCheck", False, "ReadOnly"
    ),
    _switch("", "MonitoringCtrlr.Available", access="ReadOnly"),
    _switch("", "MonitoringCtrlr.Enabled"),
    _fixed("", "ChargingStation.AvailabilityState", "Available", "OptionList"),
    _fixed("", "ChargingStation.Model", "Twin"),
)


class Settings:
    """Values by either name, so that the device reads `HeartbeatInterval` in every version."""

    def __init__(self, version: OcppVersion) -> None:
        self._is_16 = version == "ocpp1.6"
        self.known = {self._name(s): s for s in SETTINGS if self._name(s)}
        self._names = {
            either: self._name(s)
            for s in SETTINGS
            for either in (s.key, s.variable)
            if either and self._name(s)
        }
        self._values = {name: setting.value for name, setting in self.known.items()}
        self._after_reboot: dict[str, str] = {}

    def _name(self, setting: Setting) -> str:
        return setting.key if self._is_16 else setting.variable

    def text(self, name: str) -> str:
        """Raises KeyError where this version has no such setting."""
        return self._values[self._names[name]]

    def number(self, name: str) -> int:
        return int(self.text(name))

    def is_on(self, name: str) -> bool:
        return self.text(name).lower() == "true"

    def preset(self, name: str, value: str) -> None:
        """What the factory or an installer sets: read-only ones too, at once. Raises KeyError."""
        self._values[self._names[name]] = value

    def change(self, name: str, value: str) -> Change:
        """`name` is one of `known`."""
        setting = self.known[name]
        is_downgrade = name == "SecurityProfile" and value.isdigit() and int(value) < int(self._values[name])
        if setting.access == "ReadOnly" or not setting.takes(value) or is_downgrade:
            return "Rejected"
        if setting.needs_reboot:
            self._after_reboot[name] = value
            return "RebootRequired"
        self._values[name] = value
        return "Accepted"

    def rebooted(self) -> dict[str, str]:
        """What takes effect now."""
        changed, self._after_reboot = self._after_reboot, {}
        self._values |= changed
        return changed

    def snapshot(self) -> dict[str, dict[str, str]]:
        return {"values": dict(self._values), "after_reboot": dict(self._after_reboot)}

    def restore(self, kept: dict[str, dict[str, str]]) -> None:
        self._values |= {name: value for name, value in kept["values"].items() if name in self.known}
        self._after_reboot = dict(kept["after_reboot"])
