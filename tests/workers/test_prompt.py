"""What a person at a prompt sees when a server is away: one line and an exit code, soon."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from workers import prompt
from workers.settings import Settings

CHECKOUT = Path(__file__).resolve().parents[2]
NOBODY = "127.0.0.1:1"


def test_postgresql_away_is_one_line_and_exit_code_1() -> None:
    env = os.environ | {
        "BACKSTOP_DATABASE_URL": f"postgresql://postgres@{NOBODY}/x",
        "PYTHONPATH": str(CHECKOUT),
    }
    command = [sys.executable, "-m", "workers.cli", "keys", "create", "driver app"]
    done = subprocess.run(command, env=env, cwd=CHECKOUT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith("PostgreSQL cannot be used (BACKSTOP_DATABASE_URL): ")
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.asyncio(loop_scope="session")
async def test_temporal_away_is_said_with_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompt, "_PATIENCE_S", 0.3)
    monkeypatch.setenv("BACKSTOP_TEMPORAL_ADDRESS", NOBODY)
    with pytest.raises(prompt.TemporalAway, match=NOBODY):
        await prompt.reach_temporal(Settings(), "test")  # pyright: ignore[reportCallIssue]
