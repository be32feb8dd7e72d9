"""Children are watched, brought back, and never outlive their owner."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from workers.stack.ports import free_ports, is_free
from workers.stack.processes import ChildFailed, Supervisor, http_ready, spawn, until_ready

pytestmark = pytest.mark.asyncio

STUBBORN = """
import signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
signal.pause()
"""

OWNER = """
import asyncio, sys
from pathlib import Path
from workers.stack.processes import Supervisor

async def main():
    supervisor = Supervisor(Path(sys.argv[1]))
    supervisor.start("child", [sys.executable, "-c", "import signal; signal.pause()"])
    print(supervisor.pid("child"), flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


def web_server(port: int) -> list[str]:
    return [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)]


async def test_a_killed_child_comes_back_and_serves(tmp_path: Path) -> None:
    [port] = free_ports(1)
    async with Supervisor(tmp_path) as supervisor:
        supervisor.start("web", web_server(port), cwd=tmp_path)
        ready = http_ready(f"http://127.0.0.1:{port}/")
        await supervisor.wait_ready("web", ready)
        killed = supervisor.pid("web")
        supervisor.kill("web")
        await supervisor.wait_restarted("web", 0)
        await supervisor.wait_ready("web", ready)
        assert supervisor.pid("web") != killed
        assert [(seen.name, seen.code) for seen in supervisor.exits] == [("web", -signal.SIGKILL)]
    assert is_free(port)
    assert "GET /" in (tmp_path / "web.log").read_text()


async def test_a_deaf_child_is_killed_after_the_grace(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path)
    supervisor.start("deaf", [sys.executable, "-c", STUBBORN])
    child = supervisor.pid("deaf")

    async def ignores_sigterm() -> bool:
        return "deaf" in (tmp_path / "deaf.log").read_text()

    await until_ready(ignores_sigterm, "the deaf child")
    began = time.monotonic()
    await supervisor.stop("deaf", grace_s=0.3)
    assert time.monotonic() - began < 5
    assert not _lives(child)


async def test_a_child_that_cannot_start_is_named_with_its_last_words(tmp_path: Path) -> None:
    async with Supervisor(tmp_path) as supervisor:
        supervisor.start("broken", [sys.executable, "-c", "raise SystemExit('no such luck')"])
        with pytest.raises(ChildFailed, match="no such luck"):
            await supervisor.wait_ready("broken", http_ready(f"http://127.0.0.1:{free_ports(1)[0]}/"))


async def test_a_name_is_started_once(tmp_path: Path) -> None:
    async with Supervisor(tmp_path) as supervisor:
        supervisor.start("pause", [sys.executable, "-c", "import signal; signal.pause()"])
        with pytest.raises(ValueError, match="already started"):
            supervisor.start("pause", ["true"])


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's death signal")
async def test_children_end_with_an_owner_that_is_killed(tmp_path: Path) -> None:
    owner = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", OWNER, str(tmp_path)), stdout=subprocess.PIPE
    )
    assert owner.stdout is not None
    child = int(await owner.stdout.readline())
    assert _lives(child)
    owner.kill()
    await owner.wait()

    async def gone() -> bool:
        return not _lives(child)

    await until_ready(gone, "the end of the orphan", 10)


async def test_children_are_refused_outside_the_main_thread(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="main thread"):
        await asyncio.to_thread(spawn, ["true"], log=tmp_path / "log")


async def test_ports_are_different_and_free() -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20
    assert all(is_free(port) for port in ports)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not (state.exists() and state.read_text().rsplit(")", 1)[1].split()[0] == "Z")
