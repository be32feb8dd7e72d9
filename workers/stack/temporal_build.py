"""Finds the programs of the stock Temporal server: a cached build, or a new one with Go.

The versions are pinned in tools/temporal/ (go.mod, go.sum). The cache is outside the checkout: a second
clone does not build again.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

MODULE = Path(__file__).resolve().parents[2] / "tools" / "temporal"
_PACKAGES = {
    "server": "go.temporal.io/server/cmd/server",
    "ui": "github.com/temporalio/ui-server/v2/cmd/server",
    "sql": "go.temporal.io/server/cmd/tools/sql",
}


class TemporalMissing(Exception):
    """No way to a Temporal server on this machine; the text says what to do."""


@dataclass(frozen=True)
class Programs:
    server: Path
    ui: Path
    sql: Path


def cache_folder() -> Path:
    """The user's cache: BACKSTOP_CACHE, or XDG_CACHE_HOME/backstop, or ~/.cache/backstop."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(os.environ.get("BACKSTOP_CACHE") or Path(base) / "backstop")


def _folder() -> Path:
    mark = hashlib.sha256((MODULE / "go.sum").read_bytes() + (MODULE / "go.mod").read_bytes()).hexdigest()
    return cache_folder() / f"temporal-{mark[:16]}"


def cached() -> Programs | None:
    """The cached build, if it is whole."""
    folder = _folder()
    if not (folder / ".complete").exists():
        return None
    return Programs(**{name: folder / name for name in _PACKAGES})


def build() -> Programs:
    """Build with Go; says what it does and how long. Raises TemporalMissing with what is lacking."""
    go = shutil.which("go")
    if go is None:
        raise TemporalMissing(
            "No Temporal server: set BACKSTOP_TEMPORAL_ADDRESS to a running one, install the `temporal` "
            "command, or install Go (1.26.4 or newer) so that it can be built."
        )
    folder = _folder()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a second clone waits for the first one's build
        ready = cached()
        if ready is not None:
            return ready
        _say("Building the Temporal server with Go: once per machine, about five minutes")
        for name, package in _PACKAGES.items():
            _build_one(go, name, package, folder)
        (folder / ".complete").touch()
    return Programs(**{name: folder / name for name in _PACKAGES})


def _build_one(go: str, name: str, package: str, folder: Path) -> None:
    log, began, said = folder / "build.log", time.monotonic(), 0.0
    with log.open("ab") as out:
        building = subprocess.Popen(  # noqa: S603  our own command
            [go, "build", "-o", str(folder / name), package],
            cwd=MODULE,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=mod -trimpath"},
        )
        while building.poll() is None:
            time.sleep(0.2)
            elapsed = time.monotonic() - began
            if elapsed - said >= 20:
                said = elapsed
                _say(f"  {name}: {elapsed:.0f} s")
    if building.returncode != 0:
        raise TemporalMissing(f"The Temporal {name} could not be built; the reason is at the end of {log}")
    _say(f"  {name}: done in {time.monotonic() - began:.0f} s")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201  progress for a person
