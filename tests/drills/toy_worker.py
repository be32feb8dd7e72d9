"""A worker with one workflow of one activity, whose side effect is a line in a file; with crash points.

python -m tests.drills.toy_worker ADDRESS QUEUE POINTS_FOLDER
"""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta
from pathlib import Path

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from tests.drills.crash_points import CrashPoints


@activity.defn(name="note_effect")
async def note_effect(file: str) -> int:
    with Path(file).open("a") as effects:
        effects.write("done\n")
    return len(Path(file).read_text().splitlines())


@workflow.defn(name="Toy")
class Toy:
    @workflow.run
    async def run(self, file: str) -> int:
        return await workflow.execute_activity(note_effect, file, start_to_close_timeout=timedelta(seconds=1))


async def main(address: str, task_queue: str, points: str) -> None:
    client = await Client.connect(address, interceptors=[CrashPoints(Path(points))])
    async with Worker(
        client,
        task_queue=task_queue,
        workflows=[Toy],
        activities=[note_effect],
        workflow_runner=UnsandboxedWorkflowRunner(),
        max_cached_workflows=0,  # nobody waits for the dead one's own queue
    ):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
