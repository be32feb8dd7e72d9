"""A worker runs the workflow code that it started with, executed anew for each run."""

from __future__ import annotations

import importlib
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from workers.bootstrap import sandbox
from workers.workflow_code import KeptCode


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / f"p{uuid.uuid4().hex}"
    folder.mkdir()
    (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    finder = KeptCode(folder.name)
    sys.meta_path.insert(0, finder)
    yield folder
    sys.meta_path.remove(finder)
    for name in [name for name in sys.modules if name.split(".")[0] == folder.name]:
        del sys.modules[name]


def imported_anew(package: Path, module: str) -> ModuleType:
    name = f"{package.name}.{module}"
    sys.modules.pop(name, None)
    return importlib.import_module(name)


def test_code_is_kept_and_state_is_not(package: Path) -> None:
    (package / "stop.py").write_text("seen = []\ndef say():\n    return 'as it started'\n")
    first = imported_anew(package, "stop")
    first.seen.append("a run before")
    (package / "stop.py").write_text("def say():\n    return 'another version'\n")
    again = imported_anew(package, "stop")
    assert again.say() == "as it started"
    assert again.seen == []
    (package / "stop.py").unlink()  # a deployment that takes the files away
    assert imported_anew(package, "stop").say() == "as it started"
    assert again.__file__ == str(package / "stop.py")


def test_what_it_does_not_know_is_left_to_others(package: Path) -> None:
    with pytest.raises(ModuleNotFoundError):
        imported_anew(package, "nowhere")


def test_every_worker_that_runs_stops_has_it() -> None:
    for _ in range(2):
        sandbox()
    assert sum(isinstance(finder, KeptCode) for finder in sys.meta_path) == 1
