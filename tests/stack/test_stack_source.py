"""Which Temporal server is taken, and what a machine without any is told."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from workers.stack.settings import StackSettings
from workers.stack.temporal_server import TemporalServer
from workers.stack.temporal_source import (
    DevServer,
    External,
    StockBuild,
    TemporalMissing,
    build_with_go,
    resolve,
)

pytestmark = pytest.mark.asyncio


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StackSettings:
    """An empty cache, and a PATH on which a test puts what it wants found."""
    tools = tmp_path / "tools"
    tools.mkdir()
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    return StackSettings.from_environment({"BACKSTOP_CACHE": str(tmp_path / "cache"), "HOME": str(tmp_path)})


def quiet(_: str) -> None:
    pass


def put_tool(tmp_path: Path, name: str, script: str) -> Path:
    tool = tmp_path / "tools" / name
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    return tool


def put_build(settings: StackSettings) -> StockBuild:
    folder = settings.temporal_build
    folder.mkdir(parents=True)
    (folder / ".complete").touch()
    return StockBuild(folder)


NEW = 'echo "temporal version 1.9.1 (Server 1.32.0, UI 2.54.1)"'
OLD = 'echo "temporal version 1.5.1 (Server 1.29.1, UI 2.42.1)"'

# Stands for Go: notes each call, and writes what it is told to build, after a moment.
GO = """
here=$(dirname "$0")
echo "$1" >> "$here/calls"
if [ "$1" = list ]; then mkdir -p "$here/schema/postgresql/v12"; echo "$here"; exit; fi
sleep 0.1
while [ "$1" != -o ]; do shift; done
echo built > "$2"
"""


async def test_an_address_wins_over_everything(settings: StackSettings, tmp_path: Path) -> None:
    put_build(settings)
    put_tool(tmp_path, "temporal", NEW)
    environment = {"BACKSTOP_CACHE": str(settings.cache), "BACKSTOP_TEMPORAL_ADDRESS": "somewhere:7233"}
    named = StackSettings.from_environment({**environment, "BACKSTOP_TEMPORAL_UI_URL": "http://ui"})
    assert await resolve(named, quiet) == External("somewhere:7233", "http://ui")


async def test_the_cached_build_wins_over_a_command(settings: StackSettings, tmp_path: Path) -> None:
    build = put_build(settings)
    put_tool(tmp_path, "temporal", NEW)
    assert await resolve(settings, quiet) == build


async def test_a_command_on_path_wins_over_a_build(settings: StackSettings, tmp_path: Path) -> None:
    put_tool(tmp_path, "go", GO)
    command = put_tool(tmp_path, "temporal", NEW)
    assert await resolve(settings, quiet, download=False) == DevServer(command)


async def test_a_command_with_an_old_server_is_passed_over(settings: StackSettings, tmp_path: Path) -> None:
    put_tool(tmp_path, "go", GO)
    put_tool(tmp_path, "temporal", OLD)
    assert isinstance(await resolve(settings, quiet, download=False), StockBuild)


async def test_without_any_way_the_person_is_told_all_of_them(settings: StackSettings) -> None:
    with pytest.raises(TemporalMissing, match=r"internet.*Go.*temporal.*BACKSTOP_TEMPORAL_ADDRESS"):
        await resolve(settings, quiet, download=False)


async def test_two_who_need_the_build_build_it_once(settings: StackSettings, tmp_path: Path) -> None:
    put_tool(tmp_path, "go", GO)
    first, second = await asyncio.gather(build_with_go(settings, quiet), build_with_go(settings, quiet))
    assert first == second
    assert first.server.read_text() == first.ui.read_text() == first.sql.read_text() == "built\n"
    assert (tmp_path / "tools" / "calls").read_text().split() == ["build", "build", "build", "list"]


async def test_a_failed_build_says_why_and_is_not_taken_for_done(
    settings: StackSettings, tmp_path: Path
) -> None:
    put_tool(tmp_path, "go", "echo the disk is full; exit 1")
    with pytest.raises(TemporalMissing, match="the disk is full"):
        await build_with_go(settings, quiet)
    put_tool(tmp_path, "go", GO)
    assert (await build_with_go(settings, quiet)).server.exists()


async def test_a_server_that_others_run_is_used_and_left_alone(
    temporal_server: TemporalServer, tmp_path: Path
) -> None:
    named = StackSettings(cache=tmp_path / "cache", temporal_address=temporal_server.address)
    async with TemporalServer(tmp_path / "unused", settings=named) as guest:
        assert guest.external
        assert guest.address == temporal_server.address
    assert await temporal_server.answers()
    assert not (tmp_path / "unused").exists()
