"""OCPP 2.0.1 and 2.1: what a charging station sends. One row for each action, a file for each that does more
than tell.

2.1 has a table and schemas of its own; where a message means the same in both, both rows name one handler.
Known and not served, answered NotSupported: Get15118EVCertificate, GetCertificateStatus (no ISO 15118
contract certificates here); in 2.1 also BatterySwap, GetCertificateChainStatus, NotifyDERAlarm,
NotifyDERStartStop, ReportDERControl, NotifySettlement, VatNumberValidation.
"""

from __future__ import annotations

from connectors.ocpp.action import Action, ActionTable
from connectors.ocpp.kept import kept
from connectors.ocpp.v2x import (
    authorize,
    boot_notification,
    data_transfer,
    heartbeat,
    meter_values,
    notify_event,
    status_notification,
    transaction_event,
)
from connectors.ocpp.v16 import security_event_notification, sign_certificate
from models.station import StationEventKind as Kind

NOT_SERVED_201 = frozenset({"Get15118EVCertificate", "GetCertificateStatus"})
NOT_SERVED_21 = NOT_SERVED_201 | {
    "BatterySwap",
    "GetCertificateChainStatus",
    "NotifyDERAlarm",
    "NotifyDERStartStop",
    "NotifySettlement",
    "ReportDERControl",
    "VatNumberValidation",
}

V201: ActionTable = {
    "Authorize": Action(authorize.handle),
    "BootNotification": Action(boot_notification.handle),
    "ClearedChargingLimit": kept(Kind.LIMIT, "ClearedChargingLimit", "chargingLimitSource", "evseId"),
    "DataTransfer": Action(data_transfer.handle),
    "FirmwareStatusNotification": kept(Kind.FIRMWARE, "FirmwareStatusNotification", "status", "requestId"),
    "Heartbeat": Action(heartbeat.handle),
    "LogStatusNotification": kept(Kind.LOG_UPLOAD, "LogStatusNotification", "status", "requestId"),
    "MeterValues": Action(meter_values.handle, meter_values.repair),
    "NotifyChargingLimit": kept(
        Kind.LIMIT, "NotifyChargingLimit", "evseId", "chargingLimit", "chargingSchedule"
    ),
    # The customer's data itself is not kept: it is personal, and went to who asked for it (N09.FR.05).
    "NotifyCustomerInformation": kept(Kind.REPORT, "NotifyCustomerInformation", "requestId", "seqNo", "tbc"),
    "NotifyDisplayMessages": kept(Kind.REPORT, "NotifyDisplayMessages", "requestId", "tbc", "messageInfo"),
    # ISO 15118 scheduling is not offered: the station falls back to the profiles it has (K15).
    "NotifyEVChargingNeeds": kept(
        Kind.LIMIT, "NotifyEVChargingNeeds", "evseId", "chargingNeeds", answer={"status": "Rejected"}
    ),
    "NotifyEVChargingSchedule": kept(
        Kind.LIMIT, "NotifyEVChargingSchedule", "evseId", "chargingSchedule", answer={"status": "Accepted"}
    ),
    "NotifyEvent": Action(notify_event.handle),
    "NotifyMonitoringReport": kept(
        Kind.REPORT, "NotifyMonitoringReport", "requestId", "seqNo", "tbc", "monitor"
    ),
    "NotifyReport": kept(Kind.REPORT, "NotifyReport", "requestId", "seqNo", "tbc", "reportData"),
    "PublishFirmwareStatusNotification": kept(
        Kind.FIRMWARE, "PublishFirmwareStatusNotification", "status", "requestId"
    ),
    "ReportChargingProfiles": kept(
        Kind.LIMIT, "ReportChargingProfiles", "requestId", "evseId", "chargingLimitSource", "tbc",
        "chargingProfile",
    ),
    "ReservationStatusUpdate": kept(
        Kind.REPORT, "ReservationStatusUpdate", "reservationId", "reservationUpdateStatus"
    ),
    "SecurityEventNotification": Action(security_event_notification.handle),
    "SignCertificate": Action(sign_certificate.handle),
    "StatusNotification": Action(status_notification.handle),
    "TransactionEvent": Action(transaction_event.handle, transaction_event.repair),
}  # fmt: skip

V21: ActionTable = {
    **V201,
    "ClosePeriodicEventStream": kept(Kind.REPORT, "ClosePeriodicEventStream", "id"),
    # A SEND: taken without an answer.
    "NotifyPeriodicEventStream": kept(Kind.REPORT, "NotifyPeriodicEventStream", "id", "pending", "data"),
    "NotifyPriorityCharging": kept(Kind.LIMIT, "NotifyPriorityCharging", "transactionId", "activated"),
    "OpenPeriodicEventStream": kept(
        Kind.REPORT, "OpenPeriodicEventStream", "constantStreamData", answer={"status": "Accepted"}
    ),
    # Schedules are pushed from here, never pulled.
    "PullDynamicScheduleUpdate": kept(
        Kind.LIMIT, "PullDynamicScheduleUpdate", "chargingProfileId", answer={"status": "Rejected"}
    ),
}
