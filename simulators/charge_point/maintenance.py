"""Upkeep of a simulated charge point: firmware, logs and diagnostics, and messages sent on request.

OCPP 1.6 sections 5.9, 5.17, 5.19 and security white paper; OCPP 2.0.1 part 2 F06, L01, N01. Each status
follows the last by a second of the device's clock, so a second request meets the first still under way.
"""

from __future__ import annotations

import base64
import binascii
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from simulators.charge_point.certificates import Certificates, read_chain
from simulators.charge_point.device_state import DeviceState, Handler, Json, read_time, stamp

_STEP = timedelta(seconds=1)
_TRANSFERS = ("http", "https", "ftp", "ftps", "sftp")


def _is_signature(text: str) -> bool:
    try:
        return bool(base64.b64decode(text, validate=True))
    except binascii.Error:
        return False


class Maintenance:
    def __init__(self, state: DeviceState, certificates: Certificates) -> None:
        self._state, self._certificates = state, certificates

    def handlers(self) -> dict[str, Handler]:
        found: dict[str, Handler] = {"GetLog": self._log, "TriggerMessage": self._trigger}
        if not self._state.is_16:
            return {**found, "UpdateFirmware": self._signed_firmware}
        return {
            **found,
            "UpdateFirmware": self._firmware,
            "SignedUpdateFirmware": self._signed_firmware,
            "GetDiagnostics": self._diagnostics,
            "ExtendedTriggerMessage": self._trigger,
        }

    # --- firmware ---------------------------------------------------------------------------------------

    def _firmware(self, body: Json) -> Json:
        """1.6: the answer is empty; a new order replaces the one under way."""
        self._state.call_off("firmware")
        at = max(self._state.now(), read_time(body["retrieveDate"]))
        words = ["Downloading", "Downloaded", "Installing", "Installed"]
        if not _can_fetch(body["location"]):
            words = ["Downloading", "DownloadFailed"]
        self._plan("firmware", "FirmwareStatusNotification", at, words, {})
        return {}

    def _signed_firmware(self, body: Json) -> Json:
        firmware: Json = body["firmware"]
        certificate_pem = str(firmware.get("signingCertificate", ""))
        if certificate_pem and not read_chain(certificate_pem):
            self._state.security_event("InvalidFirmwareSigningCertificate")
            return self._state.reply("InvalidCertificate")
        superseded = self._state.has_job("firmware")
        self._state.call_off("firmware")
        about: Json = {"requestId": body["requestId"]}
        action = "SignedFirmwareStatusNotification" if self._state.is_16 else "FirmwareStatusNotification"
        now, at = self._state.now(), read_time(firmware["retrieveDateTime"])
        if at > now:
            self._plan("firmware", action, now, ["DownloadScheduled"], about)
        if not _can_fetch(firmware["location"]):
            self._plan("firmware", action, max(now, at), ["Downloading", "DownloadFailed"], about)
            return self._state.reply("AcceptedCanceled" if superseded else "Accepted")
        words = ["Downloading", "Downloaded"]
        is_good = not certificate_pem or _is_signature(str(firmware.get("signature", "")))
        if certificate_pem:
            words.append("SignatureVerified" if is_good else "InvalidSignature")
        at = self._plan("firmware", action, max(now, at), words, about)
        if is_good:
            self._install(action, at, firmware.get("installDateTime"), about)
        else:
            self._plan_event(at, "InvalidFirmwareSignature")
        return self._state.reply("AcceptedCanceled" if superseded else "Accepted")

    def _install(self, action: str, at: datetime, wanted: str | None, about: Json) -> None:
        install_at = read_time(wanted) if wanted else at
        if install_at > at:
            self._plan("firmware", action, at, ["InstallScheduled"], about)
        at = self._plan("firmware", action, max(at, install_at), ["Installing", "Installed"], about)
        self._plan_event(at, "FirmwareUpdated")

    def _plan(self, job: str, action: str, at: datetime, words: list[str], about: Json) -> datetime:
        """One status a second; returns when the next may follow."""
        for word in words:
            self._state.tell_at(job, at, action, {"status": word, **about})
            at += _STEP
        return at

    def _plan_event(self, at: datetime, kind: str) -> None:
        self._state.tell_at(
            "firmware", at, "SecurityEventNotification", {"type": kind, "timestamp": stamp(at)}
        )

    # --- logs -------------------------------------------------------------------------------------------

    def _diagnostics(self, body: Json) -> Json:
        self._state.call_off("diagnostics")
        last = "Uploaded" if _can_fetch(body["location"]) else "UploadFailed"
        now = self._state.now()
        self._plan("diagnostics", "DiagnosticsStatusNotification", now, ["Uploading", last], {})
        return {"fileName": f"diagnostics-{now:%Y%m%dT%H%M%S}.log"}

    def _log(self, body: Json) -> Json:
        """A newer request cancels the upload under way; 2.x says so with the old request's id (N01.FR.20)."""
        if body["logType"] not in ("DiagnosticsLog", "SecurityLog"):
            return self._state.reply("Rejected", "UnsupportedParam")
        superseded = next((item for item in self._state.agenda if item.job == "log"), None)
        if superseded is not None and not self._state.is_16:
            self._state.tell("LogStatusNotification", {**superseded.payload, "status": "AcceptedCanceled"})
        self._state.call_off("log")
        last = "Uploaded" if _can_fetch(body["log"]["remoteLocation"]) else "UploadFailure"
        now, about = self._state.now(), {"requestId": body["requestId"]}
        self._plan("log", "LogStatusNotification", now, ["Uploading", last], about)
        name = f"{body['logType']}-{now:%Y%m%dT%H%M%S}.log"
        return {"status": "Accepted" if superseded is None else "AcceptedCanceled", "filename": name}

    # --- sent on request --------------------------------------------------------------------------------

    def _trigger(self, body: Json) -> Json:
        wanted = str(body["requestedMessage"])
        number = body.get("connectorId") if self._state.is_16 else body.get("evse", {}).get("id")
        if number is not None and not self._state.knows(int(number)):
            return self._state.reply("Rejected", "UnknownEvse")
        jobs = {
            "FirmwareStatusNotification": "firmware",
            "LogStatusNotification": "log",
            "DiagnosticsStatusNotification": "diagnostics",
        }
        if wanted in jobs:
            self._state.tell(*self._status_now(wanted, jobs[wanted]))
        elif wanted in ("SignChargePointCertificate", "SignChargingStationCertificate"):
            self._certificates.ask_for_certificate()
        elif not self._state.hooks.trigger(wanted, None if number is None else int(number)):
            if wanted != "Heartbeat":
                return self._state.reply("NotImplemented")
            self._state.tell("Heartbeat", {})
        return self._state.reply("Accepted")

    def _status_now(self, wanted: str, job: str) -> tuple[str, Json]:
        """Idle when nothing is under way, else what was told last."""
        signed = f"Signed{wanted}"
        action = signed if any(item.action == signed for item in self._state.agenda) else wanted
        if self._state.has_job(job) and action in self._state.last_told:
            return action, self._state.last_told[action]
        return action, {"status": "Idle"}


def _can_fetch(location: str) -> bool:
    return urlsplit(location).scheme.lower() in _TRANSFERS
