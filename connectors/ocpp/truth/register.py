"""What a session took, from the readings of an energy register that may repeat, jump, reset or roll over.

Readings are folded in event time. Energy is the sum of what the register went up; what it went down is a
reset, a roll-over, a unit that was not said, or noise, and each leaves a finding. Nothing is counted twice,
and nothing that the register showed is lost.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import NamedTuple

_ROLL_OVER_WH = 2.0**31
_NEAR_ROLL_OVER = 0.98
_NOISE_WH, _NOISE_SHARE, _LEAST_NOISE_WH = 1_000.0, 0.05, 10.0
"""A register that went down by less was rounded, as by a stop in whole kWh. Of a small register only a small
part may be noise: it may have fallen to 0 and risen again."""
_RESOLUTION_WH = 1.0
"""Of meterStart and meterStop, which are whole numbers, beside samples with fractions."""
_MOST_KW = 1_000.0
"""More than any charging plug gives: what a register can have gained in a while."""
_AT_LEAST = timedelta(minutes=1)
_MOST_UNTIMED_WH = 250_000.0


class Reading(NamedTuple):
    """`unit_known` False: the station named no unit, and Wh was assumed."""

    at: datetime
    register_wh: float
    unit_known: bool = True


class Register:
    """The fold. Feed readings in event time. One that is older than the newest changes nothing, unless it
    shows more: then the station's clock was set back, and the register goes on."""

    __slots__ = ("at", "fell_wh", "findings", "start_wh", "taken_wh", "wh")

    def __init__(self, start_wh: float | None, at: datetime | None = None) -> None:
        self.start_wh = start_wh
        self.wh: float | None = start_wh
        self.at: datetime | None = at
        self.taken_wh = 0.0
        self.fell_wh = 0.0
        """All that it went down: least where readings are in their true order."""
        self.findings: set[str] = set()

    def read(self, reading: Reading) -> None:
        """Take a reading."""
        if self.at is not None and reading.at < self.at:
            if self.wh is None or not 0 < reading.register_wh - self.wh <= _MOST_UNTIMED_WH:
                return
            reading = reading._replace(at=self.at)
        if self.wh is None:
            self.start_wh = self.wh = reading.register_wh
            self.at = reading.at
            self.findings.add("meter_start_missing")
            return
        value = self._in_wh(reading, self.wh)
        gained = value - self.wh
        self.fell_wh += max(0.0, -gained)
        if gained >= 0:
            self._gain(gained, reading.at)
        elif -gained <= _noise_wh(self.wh) and value > _LEAST_NOISE_WH:
            if gained <= -_RESOLUTION_WH:
                self.findings.add("register_noise")
            value = self.wh  # the highest that was shown stands, so that the way back up is not counted again
        elif self.wh >= _ROLL_OVER_WH * _NEAR_ROLL_OVER and value <= self._most_wh(reading.at):
            self.findings.add("register_rolled_over")
            self.taken_wh += _ROLL_OVER_WH - self.wh + value
        elif value <= self._most_wh(reading.at):
            self.findings.add("register_reset")
            self.taken_wh += value
        else:
            # It stands where no reset can have brought it: another meter. What lay between is not known.
            self.findings.add("register_replaced")
        self.wh, self.at = value, reading.at

    def _gain(self, gained: float, at: datetime) -> None:
        if gained > self._most_wh(at):
            self.findings.add("register_jumped")
        self.taken_wh += gained

    def _in_wh(self, reading: Reading, before: float) -> float:
        """A value without unit that goes down by a factor of a thousand is in kWh."""
        if reading.unit_known or reading.register_wh >= before:
            return reading.register_wh
        in_kwh = reading.register_wh * 1000
        if before - _noise_wh(before) <= in_kwh <= before + self._most_wh(reading.at):
            self.findings.add("unit_guessed")
            return in_kwh
        return reading.register_wh

    def _most_wh(self, at: datetime) -> float:
        since = max(at - self.at, _AT_LEAST) if self.at is not None else timedelta(days=1)
        return _MOST_KW * 1000 * since.total_seconds() / 3600

    @property
    def taken_kwh(self) -> float | None:
        """None while not even a start of the register is known."""
        return None if self.wh is None else self.taken_wh / 1000


def _noise_wh(before: float) -> float:
    return max(_LEAST_NOISE_WH, min(_NOISE_WH, before * _NOISE_SHARE))


def folded(
    start_wh: float | None,
    started_at: datetime,
    readings: Iterable[Reading],
    stop: Reading | None = None,
) -> Register:
    """The register of a whole transaction: readings by time (those of one moment as they come), the stop's
    last, whatever its clock says."""
    register = Register(start_wh, started_at)
    for reading in sorted(readings, key=lambda reading: reading.at):
        register.read(reading)
    if stop is not None:
        last = register.at
        register.read(stop if last is None or stop.at >= last else stop._replace(at=last))
    return register
