"""What the store refuses, by name."""

from __future__ import annotations

from sqlalchemy.exc import DBAPIError, StatementError


class StoreError(Exception):
    """Base of refusals; never raised for an outage (those come as the driver's own errors)."""


class VehicleBusy(StoreError):
    """Another attempt holds the vehicle."""


class ConnectorBusy(StoreError):
    """Another attempt holds the connector."""


class UnknownAttempt(StoreError):
    """No intent was ever written for it."""


class PolicyConflict(StoreError):
    """This revision of the policy exists with other content."""


class StationTaken(StoreError):
    """A station id that another tenant holds. Says no more: ids of others are not ours to show."""


class StillOpen(StoreError):
    """The stop has not closed yet: what is told of it, its workflow tells."""


class OtherRun(StoreError):
    """The stop's row belongs to another run of its workflow. Whether that run, or the one that writes, is the
    newer one, only the Temporal server can say."""

    def __init__(self, run_id: str) -> None:
        super().__init__(run_id)
        self.run_id = run_id


class OtherRequest(StoreError):
    """The business key was used with another request: the stop's row is somebody else's."""


_FORBIDDEN = ("23502", "23514")
"""NOT NULL and CHECK violations. Other violations of constraints may be races, and heal."""


def is_bad_data(error: BaseException) -> bool:
    """Whether the data itself was refused (SQLSTATE classes 22 and 54, a missing or forbidden value, or one
    that the driver cannot send): no repeat heals that. An outage is never bad data."""
    if isinstance(error, DBAPIError):
        state = str(getattr(error.orig, "sqlstate", None) or "")
        return state[:2] in ("22", "54") or state in _FORBIDDEN
    return isinstance(error, (StatementError, ValueError, OverflowError, RecursionError))
