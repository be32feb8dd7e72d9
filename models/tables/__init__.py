"""SQLModel tables. Importing this package registers all of them (Alembic compares against it)."""

from __future__ import annotations

from models.tables.access import ApiKeyRow, RouteRow, StationRow, TenantRow
from models.tables.chargers import (
    ChargerRow,
    OcppTransactionRow,
    PartnerConnectionRow,
    PartnerObjectRow,
    PolicyRow,
    QuarantineRow,
    VehicleModelRow,
)
from models.tables.stops import (
    AttemptRow,
    CommandRow,
    DecisionRow,
    EvidenceRow,
    OutboxRow,
    StopEventRow,
    StopRow,
)

__all__ = [
    "ApiKeyRow",
    "AttemptRow",
    "ChargerRow",
    "CommandRow",
    "DecisionRow",
    "EvidenceRow",
    "OcppTransactionRow",
    "OutboxRow",
    "PartnerConnectionRow",
    "PartnerObjectRow",
    "PolicyRow",
    "QuarantineRow",
    "RouteRow",
    "StationRow",
    "StopEventRow",
    "StopRow",
    "TenantRow",
    "VehicleModelRow",
]
