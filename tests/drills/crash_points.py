"""Dies on command at the border of an activity: before its side effect, or after it and before anybody knows.

A worker interceptor, in tests only. What is armed is a file in a folder, so that a running stack can be
struck at one point, once, without being started anew: `<activity>.<before|after>.<anything>.armed`, holding
the ids of the workflows that it is for, so that one point may be armed for several at once. The process that
meets it takes the file away and ends as by kill -9."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Any

from temporalio import activity
from temporalio.client import Interceptor as ClientInterceptor
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput
from temporalio.worker import Interceptor as WorkerInterceptor

FOLDER = "BACKSTOP_TEST_CRASH_POINTS"
"""The environment variable that names the folder."""
_KILLED = 9


class Moment(StrEnum):
    BEFORE = "before"
    AFTER = "after"


def arm(folder: Path, activity_name: str, moment: Moment, workflow_ids: Iterable[str]) -> Path:
    """The file that is gone once somebody has died of it."""
    armed = folder / f"{activity_name}.{moment}.{secrets.token_hex(4)}.armed"
    made = armed.with_suffix(".made")
    made.write_text("\n".join(workflow_ids))
    made.rename(armed)
    return armed


def crash_if_armed(folder: Path, activity_name: str, moment: Moment, workflow_id: str) -> None:
    """Does not return where this point is armed for this workflow."""
    for armed in folder.glob(f"{activity_name}.{moment}.*.armed"):
        try:
            if workflow_id not in armed.read_text().splitlines():
                continue
            armed.rename(armed.with_suffix(".struck"))  # one of several processes wins
        except FileNotFoundError:
            continue
        os._exit(_KILLED)


class CrashPoints(ClientInterceptor, WorkerInterceptor):
    """Given to a client; every worker made from it has it, too."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _Crashing(next, self._folder)


class _Crashing(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, folder: Path) -> None:
        super().__init__(next)
        self._folder = folder

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        info = activity.info()
        point = self._folder, info.activity_type
        crash_if_armed(*point, Moment.BEFORE, info.workflow_id or "")
        result = await self.next.execute_activity(input)
        crash_if_armed(*point, Moment.AFTER, info.workflow_id or "")
        return result
