"""Where a Temporal server comes from, in this order: an address in the environment, the cached build, a
`temporal` command (on PATH, or the SDK's own download), a build with Go.

The versions are pinned in tools/temporal/ (go.mod, go.sum). The cache is outside the checkout: a second clone
neither downloads nor builds again.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from temporalio.testing import WorkflowEnvironment

from workers.stack.processes import tail
from workers.stack.settings import TEMPORAL_ADDRESS, StackSettings

DEV_SERVER_VERSION = "v1.9.1"
"""The `temporal` command whose start-dev is server 1.32.0, as pinned in tools/temporal/."""

OLDEST_SERVER = (1, 32)
"""Older ones lack per-workflow time skipping, which tests need."""

_DOWNLOAD_LONGEST_S = 90.0
_PROGRESS_EVERY_S = 20.0
_COMPLETE = ".complete"
_MODULE = "go.temporal.io/server"
_PACKAGES = {
    "ui": "github.com/temporalio/ui-server/v2/cmd/server",
    "sql": "go.temporal.io/server/cmd/tools/sql",
    "server": "go.temporal.io/server/cmd/server",
}

Say = Callable[[str], None]


class TemporalMissing(RuntimeError):
    """No way to a Temporal server on this machine; the text says what to do."""


@dataclass(frozen=True)
class External:
    """A server that others run; we neither start nor stop it. `ui_url` where known."""

    address: str
    ui_url: str | None = None


@dataclass(frozen=True)
class StockBuild:
    """The programs of the stock server, built here."""

    folder: Path

    @property
    def server(self) -> Path:
        return self.folder / "server"

    @property
    def ui(self) -> Path:
        return self.folder / "ui"

    @property
    def sql(self) -> Path:
        """The tool that makes and updates the server's tables."""
        return self.folder / "sql"

    @property
    def schema(self) -> Path:
        """The tables' definitions for PostgreSQL, by version."""
        return self.folder / "schema"


@dataclass(frozen=True)
class DevServer:
    """The `temporal` command, whose `start-dev` has server and UI in one."""

    command: Path


Source = External | StockBuild | DevServer


def say_to_stderr(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201  progress for a person


def cached_build(settings: StackSettings) -> StockBuild | None:
    """The cached build, if it is whole."""
    folder = settings.temporal_build
    return StockBuild(folder) if (folder / _COMPLETE).exists() else None


async def resolve(settings: StackSettings, say: Say = say_to_stderr, *, download: bool = True) -> Source:
    """The first source that answers, made ready where that takes work. Raises TemporalMissing."""
    if settings.temporal_address is not None:
        return External(settings.temporal_address, settings.temporal_ui_url)
    if (build := cached_build(settings)) is not None:
        return build
    if (on_path := _command_on_path()) is not None:
        return DevServer(on_path)
    if download and (downloaded := await _downloaded(settings, say)) is not None:
        return DevServer(downloaded)
    return await build_with_go(settings, say)


def _command_on_path() -> Path | None:
    """The `temporal` command, unless its server is older than the oldest that does what we need."""
    command = shutil.which("temporal")
    if command is None:
        return None
    shown = subprocess.run([command, "--version"], capture_output=True, text=True, check=False).stdout  # noqa: S603
    found = re.search(r"Server (\d+)\.(\d+)", shown)
    new_enough = found is not None and (int(found[1]), int(found[2])) >= OLDEST_SERVER
    return Path(command) if new_enough else None


async def _downloaded(settings: StackSettings, say: Say) -> Path | None:
    """The SDK's own download of the `temporal` command, kept in our cache. None where it is out of reach."""
    folder = settings.cache / f"temporal-command-{DEV_SERVER_VERSION}"
    folder.mkdir(parents=True, exist_ok=True)
    async with _locked(folder, say):
        if not (folder / _COMPLETE).exists():
            say("temporal: looking for a ready server to download")
            if not await _download(folder):
                return None
            (folder / _COMPLETE).touch()
    commands = [file for file in folder.iterdir() if file.stat().st_size > 0 and os.access(file, os.X_OK)]
    return commands[0] if commands else None


async def _download(folder: Path) -> bool:
    began = asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout(_DOWNLOAD_LONGEST_S):
            # Starting one is the only way to make the SDK download it.
            trial = await WorkflowEnvironment.start_local(
                download_dest_dir=str(folder),
                dev_server_download_version=DEV_SERVER_VERSION,
                dev_server_log_level="error",
            )
            await trial.shutdown()
    except (RuntimeError, TimeoutError):
        return False
    say_to_stderr(f"temporal: downloaded in {asyncio.get_running_loop().time() - began:.0f} s")
    return True


async def build_with_go(settings: StackSettings, say: Say = say_to_stderr) -> StockBuild:
    """Build into the cache; a second caller waits for the first one's build. Raises TemporalMissing."""
    folder = settings.temporal_build
    if (done := cached_build(settings)) is not None:
        return done
    go = shutil.which("go")
    if go is None:
        raise TemporalMissing(
            "No Temporal server. One of these helps: internet access (a ready server is then downloaded); "
            f"Go, to build it; the `temporal` command on PATH; {TEMPORAL_ADDRESS} set to a running server."
        )
    folder.mkdir(parents=True, exist_ok=True)
    async with _locked(folder, say):
        if (done := cached_build(settings)) is not None:
            return done
        log = folder / "build.log"
        say(f"temporal: building the stock server with Go, once, about five minutes (output: {log})")
        for name, package in _PACKAGES.items():
            await _build_one(go, name, package, settings, log, say)
        await _copy_schema(go, settings)
        (folder / _COMPLETE).touch()
    return StockBuild(folder)


async def _build_one(go: str, name: str, package: str, settings: StackSettings, log: Path, say: Say) -> None:
    began = time.monotonic()
    unfinished = settings.temporal_build / f"{name}.unfinished"
    with log.open("ab") as out:
        building = await asyncio.create_subprocess_exec(
            go,
            "build",
            "-trimpath",
            "-buildvcs=false",
            "-o",
            str(unfinished),
            package,
            cwd=settings.temporal_module,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env={**os.environ, "CGO_ENABLED": "0"},
        )
        finished = asyncio.ensure_future(building.wait())
        try:
            while not (await asyncio.wait({finished}, timeout=_PROGRESS_EVERY_S))[0]:
                say(f"temporal: {name}, {time.monotonic() - began:.0f} s")
        except asyncio.CancelledError:
            building.terminate()
            await finished
            raise
    if building.returncode != 0:
        raise TemporalMissing(f"`go build` of the Temporal {name} failed; the end of {log}:\n{tail(log)}")
    unfinished.rename(settings.temporal_build / name)
    say(f"temporal: {name} built in {time.monotonic() - began:.0f} s")


async def _copy_schema(go: str, settings: StackSettings) -> None:
    """From the module's sources, which may be cleaned away later."""
    listing = await asyncio.create_subprocess_exec(
        *(go, "list", "-m", "-f", "{{.Dir}}", _MODULE), cwd=settings.temporal_module, stdout=subprocess.PIPE
    )
    printed, _ = await listing.communicate()
    source = Path(printed.decode().strip()) / "schema" / "postgresql" / "v12"
    target = settings.temporal_build / "schema"
    shutil.rmtree(target, ignore_errors=True)
    # Without the modes: the module cache is read-only.
    await asyncio.to_thread(shutil.copytree, source, target, copy_function=shutil.copyfile)
    for folder in (target, *(path for path in target.rglob("*") if path.is_dir())):
        folder.chmod(0o755)


@asynccontextmanager
async def _locked(folder: Path, say: Say) -> AsyncGenerator[None, None]:
    """One process at a time per folder; the kernel frees the lock of a killed one."""
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another process that prepares {folder}")
            await asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_EX)
        yield
