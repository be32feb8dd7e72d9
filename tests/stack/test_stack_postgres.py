"""The embedded PostgreSQL loses nothing, whoever is killed, and lets nobody else in."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
import pytest_asyncio

from workers.stack.postgres import Postgres, PostgresFailed, programs_for_all
from workers.stack.settings import StackSettings

pytestmark = pytest.mark.asyncio

EMBEDDED = replace(StackSettings.from_environment(), database_url=None)

OWNER = """
import asyncio, sys
from pathlib import Path
import psycopg
from workers.stack.postgres import Postgres
from workers.stack.settings import StackSettings

async def main():
    server = Postgres(Path(sys.argv[1]), settings=StackSettings(cache=Path(sys.argv[1])))
    await server.start()
    with psycopg.connect(server.url) as connection:
        connection.execute("CREATE TABLE kept (number int)")
        connection.execute("INSERT INTO kept VALUES (7)")
    print("ready", flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Postgres]:
    async with Postgres(tmp_path_factory.mktemp("pg"), tcp=True, settings=EMBEDDED) as started:
        yield started


async def test_kill_9_loses_no_commit_and_the_url_stays(server: Postgres) -> None:
    url, pid = server.url, server.pid
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE deeds (number int)")
        connection.execute("INSERT INTO deeds VALUES (1)")
    restarts = server.restarts
    server.kill()
    await server.wait_back(restarts)
    assert (server.url, server.pid != pid) == (url, True)
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT number FROM deeds").fetchall() == [(1,)]


async def test_a_clean_restart_keeps_url_and_data(server: Postgres) -> None:
    url = server.url
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE calm (number int)")
    await server.restart()
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT count(*) FROM calm").fetchone() == (0,)


async def test_tcp_wants_the_password(server: Postgres) -> None:
    with psycopg.connect(server.tcp_url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(f"postgresql://postgres@127.0.0.1:{server.port}/postgres")


async def test_a_second_owner_of_the_same_data_is_refused(server: Postgres) -> None:
    with pytest.raises(PostgresFailed, match="another process"):
        await Postgres(server.folder, settings=EMBEDDED).start()


async def test_a_killed_owner_leaves_data_for_the_next_one(tmp_path: Path) -> None:
    owner = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "ignore", "-c", OWNER, str(tmp_path)), stdout=subprocess.PIPE
    )
    assert owner.stdout is not None
    assert await owner.stdout.readline() == b"ready\n"
    owner.kill()
    await owner.wait()
    async with Postgres(tmp_path, settings=EMBEDDED) as heir:
        with psycopg.connect(heir.url) as connection:
            assert connection.execute("SELECT number FROM kept").fetchall() == [(7,)]


async def test_a_url_in_the_environment_wins(server: Postgres, tmp_path: Path) -> None:
    named = StackSettings.from_environment({"BACKSTOP_DATABASE_URL": server.url, "HOME": str(tmp_path)})
    async with Postgres(tmp_path / "unused", settings=named) as external:
        assert external.url == server.url
    assert not (tmp_path / "unused").exists()
    assert await server.answers(), "an external server is left running"


async def test_programs_in_a_private_folder_run_from_a_copy_that_others_can_reach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root's home, where the environment is kept, is often closed to the user that PostgreSQL runs as."""
    open_folder = tmp_path / "temp"
    open_folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(open_folder))
    bin_path = tmp_path / "private" / "wheel" / "install" / "bin"
    bin_path.mkdir(parents=True)
    (bin_path / "postgres").write_text("server")
    libraries = tmp_path / "private" / "wheel.libs"
    libraries.mkdir()
    (libraries / "libpq.so").write_text("library")
    (tmp_path / "private").chmod(0o700)
    copy = programs_for_all(bin_path)
    assert copy.is_relative_to(open_folder)
    assert (copy / "postgres").read_text() == "server"
    assert (copy / "../../../wheel.libs/libpq.so").resolve().read_text() == "library"
    assert programs_for_all(bin_path) == copy, "made once"
    assert copy.parents[2].stat().st_mode & 0o077 == 0o055
