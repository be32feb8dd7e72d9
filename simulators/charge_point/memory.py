"""What a charge point remembers over a loss of power or a kill -9: SQLite, in memory without a state_dir."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

Json = dict[str, Any]

_TABLES = """
CREATE TABLE IF NOT EXISTS message (
  row INTEGER PRIMARY KEY AUTOINCREMENT, action TEXT NOT NULL, body TEXT NOT NULL,
  connector INTEGER NOT NULL, session_ref TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS fact (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


@dataclass(frozen=True)
class StoredMessage:
    """A transaction message that no CALLRESULT has come for; `attempts` were refused."""

    row: int
    action: str
    body: Json
    connector: int
    session_ref: str
    attempts: int


class StationMemory:
    """Every method is on disk when it returns. Raises sqlite3.Error when the folder cannot be written."""

    def __init__(self, state_dir: str | None, station_id: str) -> None:
        path = ":memory:"
        if state_dir is not None:
            file = Path(state_dir) / f"{quote(station_id, safe='')}.sqlite"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch(mode=0o600)  # it holds the station's password once that was changed
            path = str(file)
        self._db = sqlite3.connect(path)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")  # outlives a killed process; a dead battery it need not
        self._db.executescript(_TABLES)

    def close(self) -> None:
        self._db.close()

    # --- messages ---------------------------------------------------------------------------------------

    def put(self, action: str, body: Json, connector: int, session_ref: str, snapshot: Json) -> int:
        """The message and its connector's snapshot in one commit: no seqNo is ever given twice."""
        with self._db:
            row = self._db.execute(
                "INSERT INTO message (action, body, connector, session_ref) VALUES (?, ?, ?, ?)",
                (action, json.dumps(body), connector, session_ref),
            ).lastrowid
            self._write(f"connector:{connector}", snapshot)
        return row or 0

    def burn(self, row: int, attempts: int) -> None:
        with self._db:
            self._db.execute("UPDATE message SET attempts = ? WHERE row = ?", (attempts, row))

    def done(self, row: int) -> None:
        with self._db:
            self._db.execute("DELETE FROM message WHERE row = ?", (row,))

    def waiting(self) -> list[StoredMessage]:
        """In the order in which they were said."""
        rows = self._db.execute(
            "SELECT row, action, body, connector, session_ref, attempts FROM message ORDER BY row"
        )
        return [
            StoredMessage(row, action, json.loads(body), connector, ref, attempts)
            for row, action, body, connector, ref, attempts in rows
        ]

    # --- facts ------------------------------------------------------------------------------------------

    def keep(self, name: str, value: object) -> None:
        with self._db:
            self._write(name, value)

    def recall(self, name: str) -> Any:
        """None where nothing is known."""
        found = self._db.execute("SELECT value FROM fact WHERE name = ?", (name,)).fetchone()
        return None if found is None else json.loads(found[0])

    def _write(self, name: str, value: object) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO fact (name, value) VALUES (?, ?)",
            (name, json.dumps(value)),
        )
