"""Drives strict_client.mjs: a station by another author that judges every message by its own schemas."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import shutil
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from workers.stack.settings import StackSettings

Json = dict[str, Any]
HERE = Path(__file__).parent
_ANSWER_S = 20.0


def node_folder() -> Path:
    """The same as in tools/prepare.py."""
    pinned = (HERE / "package-lock.json").read_bytes()
    return StackSettings.from_environment().cache / f"node-{hashlib.sha256(pinned).hexdigest()[:16]}"


def node() -> str:
    """The `node` command. Skips the test where it or the packages are missing."""
    command = shutil.which("node")
    if command is None:
        pytest.skip("no node here")
    if not (node_folder() / ".complete").exists():
        pytest.skip("the Node packages are missing: run tools/setup --servers (needs npm)")
    return command


class Refused(Exception):
    """A call without a usable reply: a CALLERROR, a reply that breaks its schema, or a call never sent."""

    def __init__(self, action: str, code: str, message: str) -> None:
        super().__init__(f"{action}: {code}: {message}")
        self.code = code


@dataclass
class StrictClient:
    """One connected station. `failures`: messages, of whichever side, that break OCPP."""

    process: Process
    protocol: str = ""
    failures: list[Json] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    """Calls of the gateway that no `expect` had announced."""
    exit_code: int | None = None
    _answers: asyncio.Queue[Json] = field(default_factory=asyncio.Queue)
    _heard: dict[str, asyncio.Queue[Json]] = field(default_factory=dict)

    async def call(self, action: str, payload: Json) -> Json:
        """The gateway's reply. Raises Refused."""
        answer = await self.ask({"call": action, "payload": payload})
        if "error" in answer:
            raise Refused(action, str(answer["error"]["code"]), str(answer["error"]["message"]))
        return answer["reply"]

    async def expect(self, action: str, reply: Json) -> None:
        """From now on calls of this action get this reply."""
        await self.ask({"expect": action, "reply": reply})

    async def heard(self, action: str) -> Json:
        """The request of the next call of an expected action."""
        async with asyncio.timeout(_ANSWER_S):
            return await self._heard.setdefault(action, asyncio.Queue()).get()

    async def ask(self, line: Json) -> Json:
        """One line in, its line out."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(line).encode() + b"\n")
        async with asyncio.timeout(_ANSWER_S):
            return await self._answers.get()

    async def read(self) -> None:
        """Sorts what the process says, until it ends."""
        assert self.process.stdout is not None
        async for text in self.process.stdout:
            line: Json = json.loads(text)
            if "failure" in line:
                self.failures.append(line["failure"])
            elif line.get("refused"):
                self.refused.append(line["heard"])
            elif "heard" in line:
                self._heard.setdefault(line["heard"], asyncio.Queue()).put_nowait(line["request"])
            elif "closed" not in line:
                self._answers.put_nowait(line)
        # The process has gone: whoever waits is told at once.
        self._answers.put_nowait({"error": {"code": "Gone", "message": f"{self.failures}"}})


@contextlib.asynccontextmanager
async def strict_client(url: str, password: str, protocol: str) -> AsyncGenerator[StrictClient]:
    """A station at `url` (its last part is the identity); closed and its exit code known afterwards."""
    endpoint, _, identity = url.rpartition("/")
    process = await asyncio.create_subprocess_exec(
        node(),
        str(HERE / "strict_client.mjs"),
        env={**os.environ, "BACKSTOP_NODE_MODULES": str(node_folder())},
        stdin=PIPE,
        stdout=PIPE,
        limit=2**22,
    )
    client = StrictClient(process)
    reader = asyncio.create_task(client.read())
    try:
        opening = {"url": endpoint, "identity": identity, "password": password, "protocols": [protocol]}
        answer = await client.ask(opening)
        if "error" in answer:
            raise ConnectionError(answer["error"]["message"])
        client.protocol = answer["connected"]
        yield client
        assert process.stdin is not None
        process.stdin.close()
        async with asyncio.timeout(_ANSWER_S):
            client.exit_code = await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
        await reader
        await process.wait()
