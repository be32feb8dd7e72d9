"""What the store refuses, by name."""

from __future__ import annotations


class StoreError(Exception):
    """Base of refusals; never raised for an outage (those come as the driver's own errors)."""


class VehicleBusy(StoreError):
    """Another live attempt holds the vehicle."""


class ConnectorBusy(StoreError):
    """Another live attempt holds the connector."""


class PolicyConflict(StoreError):
    """This revision of the policy exists with other content."""


class StationTaken(StoreError):
    """A station id that another tenant holds. Says no more: ids of others are not ours to show."""
