"""The faults that the simulated telematics vendor can be given, and the plan that says which strikes next."""

from __future__ import annotations

from enum import StrEnum


class VendorFault(StrEnum):
    """Written `name` (strikes every time) or `name:times` (strikes so often, then is spent)."""

    DUPLICATE = "duplicate"
    """Each delivery is sent twice."""
    REORDERED = "reordered"
    """Events are held for a moment and pushed one by one, newest first."""
    LATE = "late"
    """A delivery is sent after those that follow it."""
    LOST = "lost"
    """A delivery is dropped, as after the vendor's last retry."""
    WRONG_SIGNATURE = "wrong_signature"
    """The first try of a delivery is signed with another secret."""
    BROKEN_EVENT = "broken_event"
    """A batch holds one event that fits no schema."""
    UNKNOWN_EVENT = "unknown_event"
    HEARTBEAT_SILENT = "heartbeat_silent"
    MISSING_SOC = "missing_soc"
    NULL_VALUES = "null_values"
    """Every value of chargeState and location is null."""
    SOC_OUT_OF_RANGE = "soc_out_of_range"
    FUTURE_CLOCK = "future_clock"
    """lastUpdated lies a day ahead."""
    RATE_LIMITED = "rate_limited"
    """429 with Retry-After."""
    RATE_LIMITED_BARE = "rate_limited_bare"
    """429 without."""
    SERVER_ERROR = "server_error"
    TIMEOUT = "timeout"
    """No answer, and nothing done."""
    TIMEOUT_AFTER_ACTING = "timeout_after_acting"
    """The command is taken, and no answer comes."""
    TOKEN_REVOKED = "token_revoked"  # noqa: S105 - the name of a fault
    """All tokens are void: the next call gets 401."""
    ACTION_PENDING_FOREVER = "action_pending_forever"
    ACTION_LATE = "action_late"
    """The action is confirmed long after the usual time."""
    ACTION_FAILS = "action_fails"
    CANCELLED_IN_REPLY = "cancelled_in_reply"
    PLAN_OWNS_DEVICE = "plan_owns_device"
    """422: a schedule or smart charging plan controls the vehicle."""


class FaultPlan:
    """Which faults are on. Raises ValueError for a name that does not exist."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._left: dict[VendorFault, int | None] = {}
        for name in names:
            fault, _, times = name.partition(":")
            self._left[VendorFault(fault)] = int(times) if times else None

    def strikes(self, fault: VendorFault) -> bool:
        """Whether the fault strikes now; a counted one is used up by asking."""
        left = self._left.get(fault, 0)
        if left == 0:
            return False
        if left is not None:
            self._left[fault] = left - 1
        return True
