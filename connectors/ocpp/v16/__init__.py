"""OCPP 1.6J: what a charge point sends. One row for each action, a file for each that does more
than tell."""

from __future__ import annotations

from connectors.ocpp.action import Action, ActionTable
from connectors.ocpp.kept import kept
from connectors.ocpp.v16 import (
    authorize,
    boot_notification,
    data_transfer,
    heartbeat,
    meter_values,
    security_event_notification,
    sign_certificate,
    start_transaction,
    status_notification,
    stop_transaction,
)
from models.station import StationEventKind as Kind

ACTIONS: ActionTable = {
    "Authorize": Action(authorize.handle),
    "BootNotification": Action(boot_notification.handle),
    "DataTransfer": Action(data_transfer.handle),
    "DiagnosticsStatusNotification": kept(Kind.LOG_UPLOAD, "DiagnosticsStatusNotification", "status"),
    "FirmwareStatusNotification": kept(Kind.FIRMWARE, "FirmwareStatusNotification", "status"),
    "Heartbeat": Action(heartbeat.handle),
    "LogStatusNotification": kept(Kind.LOG_UPLOAD, "LogStatusNotification", "status", "requestId"),
    "MeterValues": Action(meter_values.handle, meter_values.repair),
    "SecurityEventNotification": Action(security_event_notification.handle),
    "SignCertificate": Action(sign_certificate.handle),
    "SignedFirmwareStatusNotification": kept(
        Kind.FIRMWARE, "SignedFirmwareStatusNotification", "status", "requestId"
    ),
    "StartTransaction": Action(start_transaction.handle, start_transaction.repair),
    "StatusNotification": Action(status_notification.handle),
    "StopTransaction": Action(stop_transaction.handle, stop_transaction.repair),
}
