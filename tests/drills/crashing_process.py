"""One of our processes as it is in production, with crash points in its activities.

BACKSTOP_TEST_CRASH_POINTS=/tmp/points python -m tests.drills.crashing_process worker
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from temporalio.client import Client

from tests.drills.crash_points import FOLDER, CrashPoints
from workers.cli import app


def main() -> None:
    points = CrashPoints(Path(os.environ[FOLDER]))
    connect = Client.connect

    async def connect_with_points(*args: Any, **options: Any) -> Client:
        options["interceptors"] = [*options.get("interceptors", ()), points]
        return await connect(*args, **options)

    Client.connect = connect_with_points  # pyright: ignore[reportAttributeAccessIssue]
    app(prog_name="backstop")


if __name__ == "__main__":
    main()
