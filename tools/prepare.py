"""Makes this machine ready to run Backstop: the Python environment, and on request the Temporal server and
the Node packages of the tests.

Standard library only: it runs before anything is installed. All are kept in the user's cache under a name
that depends on what is pinned, so that a second clone, or a second run, has nothing left to do.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
COMPLETE = ".complete"
PROGRESS_EVERY_S = 20.0
STRICT_CLIENT = CHECKOUT / "tests" / "ocpp" / "strict_client"


def cache() -> Path:
    """BACKSTOP_CACHE, or XDG_CACHE_HOME/backstop, or ~/.cache/backstop: the same as in
    workers/stack/settings.py."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(os.environ.get("BACKSTOP_CACHE") or f"{home}/backstop").expanduser().absolute()


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def environment(lock_file: Path) -> Path:
    """The environment of this lock file and this Python, built where it is missing."""
    # The version alone would not do: two interpreters of one version may differ in platform or be removed.
    interpreter = f"{sys.version} {platform.machine()} {sys.base_prefix}"
    key = hashlib.sha256(lock_file.read_bytes() + interpreter.encode()).hexdigest()[:16]
    folder = cache() / f"venv-{key}"
    if is_whole(folder):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        if not is_whole(folder):
            build(folder, lock_file)
    return folder


def is_whole(folder: Path) -> bool:
    """Finished, and its interpreter is still there."""
    return (folder / COMPLETE).exists() and (folder / "bin" / "python").exists()


def build(folder: Path, lock_file: Path) -> None:
    """Environments cannot be moved, so it is built in its place and marked when it is whole."""
    shutil.rmtree(folder, ignore_errors=True)
    version = ".".join(map(str, sys.version_info[:3]))
    say(f"environment: Python {version}, packages of {lock_file.name}, once, one or two minutes")
    log = folder.with_name(f"{folder.name}.log")
    log.unlink(missing_ok=True)
    make = [sys.executable, "-m", "venv", str(folder)]
    run(make, log, "environment: creating it", "Is Python's venv module there (Debian: python3-venv)?")
    install = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-input"]
    install += ["--disable-pip-version-check", "--require-hashes", "-r", str(lock_file)]
    run(install, log, "environment: installing", "Is there internet access, or a package mirror set for pip?")
    (folder / COMPLETE).touch()


def run(argv: list[str], log: Path, step: str, hint: str) -> None:
    """One long step, its output in `log`; a line now and then, and its time."""
    began = time.monotonic()
    with log.open("ab") as out:
        child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        try:
            while True:
                try:
                    code = child.wait(PROGRESS_EVERY_S)
                    break
                except subprocess.TimeoutExpired:
                    say(f"{step}, {time.monotonic() - began:.0f} s")
        except BaseException:
            child.kill()
            raise
    if code != 0:
        last = "\n".join(log.read_text(errors="replace").splitlines()[-12:])
        raise SystemExit(f"{last}\n{step} failed. {hint} All of its output: {log}")
    say(f"{step}: done in {time.monotonic() - began:.0f} s")


@contextmanager
def locked(folder: Path) -> Generator[None, None, None]:
    """One builder at a time; the kernel frees the lock of a killed one."""
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another process that builds {folder}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def link(folder: Path) -> None:
    """.venv in the checkout, for editors and make."""
    shown = CHECKOUT / ".venv"
    if shown.is_symlink() and os.readlink(shown) == str(folder):
        return
    if shown.exists() and not shown.is_symlink():
        raise SystemExit(f"{shown} is not ours; remove or rename it, then run this again")
    fresh = CHECKOUT / f".venv.{os.getpid()}"
    fresh.symlink_to(folder)
    fresh.replace(shown)


def temporal_build() -> Path:
    """The same as in workers/stack/settings.py: asked here first because starting that takes a second."""
    pinned = (CHECKOUT / "tools" / "temporal" / "go.sum").read_bytes()
    return cache() / f"temporal-{hashlib.sha256(pinned).hexdigest()[:16]}"


def servers(python: Path) -> int:
    """Find or build the Temporal server (workers/stack/temporal_source.py)."""
    if (temporal_build() / COMPLETE).exists() or os.environ.get("BACKSTOP_TEMPORAL_ADDRESS"):
        return 0
    env = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    return subprocess.run([str(python), "-m", "workers.stack"], env=env, check=False).returncode


def node_folder(package: Path) -> Path:
    """The same as in tests/ocpp/strict_client/driver.py."""
    pinned = (package / "package-lock.json").read_bytes()
    return cache() / f"node-{hashlib.sha256(pinned).hexdigest()[:16]}"


def node_modules(package: Path) -> None:
    """The packages of this lock file. Only tests need them, and they skip without: nothing stops here."""
    folder = node_folder(package)
    if (folder / COMPLETE).exists():
        return
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        say("node packages: no node or npm here; the tests that need them will be skipped")
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        if (folder / COMPLETE).exists():
            return
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for name in ("package.json", "package-lock.json"):
            shutil.copy(package / name, folder)
        log = folder.with_name(f"{folder.name}.log")
        log.unlink(missing_ok=True)
        install = [npm, "ci", "--prefix", str(folder), "--ignore-scripts", "--no-audit", "--no-fund"]
        install += ["--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=3000"]  # not a minute offline
        try:
            run(install, log, "node packages", "The tests that need them will be skipped.")
        except SystemExit as failed:
            say(str(failed))
        else:
            (folder / COMPLETE).touch()


def main() -> int:
    parser = argparse.ArgumentParser(prog="tools/setup", description=__doc__)
    parser.add_argument("--servers", action="store_true", help="the Temporal server and Node packages, too")
    parser.add_argument("--runtime", action="store_true", help="leave out what only tests and lint need")
    parser.add_argument("--print", action="store_true", help="print the environment's Python")
    asked = parser.parse_args()
    folder = environment(CHECKOUT / ("requirements.txt" if asked.runtime else "requirements-dev.txt"))
    link(folder)
    python = folder / "bin" / "python"
    if asked.print:
        print(python)
    if asked.servers:
        node_modules(STRICT_CLIENT)
        return servers(python)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
