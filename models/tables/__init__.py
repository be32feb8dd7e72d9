"""SQLModel tables. Importing this package registers all of them (Alembic compares against it)."""

from __future__ import annotations

from models.tables.access import ApiKeyRow, RouteRow, StationRow, TenantRow
from models.tables.chargers import (
    ChargerRow,
    PartnerConnectionRow,
    PartnerObjectRow,
    PolicyRow,
    QuarantineRow,
    VehicleModelRow,
)
from models.tables.ocpp import (
    ChargingLimitRow,
    OcppEventRow,
    OcppTransactionRow,
    StationCertificateRow,
    StationEventRow,
    VendorFieldRow,
)
from models.tables.stops import (
    AttemptRow,
    CommandRow,
    DecisionRow,
    EvidenceRow,
    OutboxRow,
    SessionProgressRow,
    StopEventRow,
    StopRow,
)

__all__ = [
    "ApiKeyRow",
    "AttemptRow",
    "ChargerRow",
    "ChargingLimitRow",
    "CommandRow",
    "DecisionRow",
    "EvidenceRow",
    "OcppEventRow",
    "OcppTransactionRow",
    "OutboxRow",
    "PartnerConnectionRow",
    "PartnerObjectRow",
    "PolicyRow",
    "QuarantineRow",
    "RouteRow",
    "SessionProgressRow",
    "StationCertificateRow",
    "StationEventRow",
    "StationRow",
    "StopEventRow",
    "StopRow",
    "TenantRow",
    "VehicleModelRow",
    "VendorFieldRow",
]
