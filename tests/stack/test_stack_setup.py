"""Set-up says what is missing, and its two halves agree on where things are kept."""

from __future__ import annotations

import asyncio
import os
import runpy
import shutil
import subprocess
from pathlib import Path

import pytest

from workers.stack.settings import CHECKOUT, StackSettings


@pytest.mark.parametrize("variable", ["BACKSTOP_CACHE", "XDG_CACHE_HOME", "HOME"])
def test_setup_and_stack_agree_on_the_cache(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("BACKSTOP_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, str(tmp_path))
    prepare = runpy.run_path(str(CHECKOUT / "tools" / "prepare.py"))
    settings = StackSettings.from_environment(dict(os.environ))
    assert settings.cache == prepare["cache"]()
    assert settings.temporal_build == prepare["temporal_build"]()


@pytest.mark.asyncio
async def test_a_machine_without_python_is_told_so(tmp_path: Path) -> None:
    for tool in ("sh", "dirname"):
        (tmp_path / tool).symlink_to(shutil.which(tool) or pytest.skip(f"no {tool}"))
    setup = await asyncio.create_subprocess_exec(
        str(CHECKOUT / "tools" / "setup"), env={"PATH": str(tmp_path)}, stderr=subprocess.PIPE
    )
    _, told = await setup.communicate()
    assert setup.returncode == 1
    assert b"Python 3.11 or newer" in told
