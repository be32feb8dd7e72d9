"""Workflow code as it was when the process started, compiled once.

Temporal's sandbox imports workflow modules anew for each run. From files that means: each run reads them
again (where no bytecode is written, as in many container images, it compiles them again, tens of
milliseconds on the worker's one loop), and a file that changes under a running worker changes the code of
the runs to come, under a build id that says otherwise. Here each module's code is kept from its first
import; the sandbox still executes it anew, under guard.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import spec_from_file_location
from types import CodeType, ModuleType


class _KeptLoader(SourceFileLoader):
    def __init__(self, fullname: str, path: str, kept: dict[str, CodeType]) -> None:
        super().__init__(fullname, path)
        self._kept = kept

    def get_code(self, fullname: str) -> CodeType | None:
        if fullname not in self._kept:
            code = super().get_code(fullname)
            if code is None:
                return None
            self._kept[fullname] = code
        return self._kept[fullname]


class KeptCode(MetaPathFinder):
    """Finds the modules of one package, and keeps their code. Raises nothing: what it does not know, others
    look for."""

    def __init__(self, package: str) -> None:
        self._prefix = f"{package}."
        self._files: dict[str, str] = {}
        self._code: dict[str, CodeType] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith(self._prefix):
            return None
        file = self._files.get(fullname)
        if file is None:
            found = PathFinder.find_spec(fullname, path, target)
            if found is None or found.origin is None or not isinstance(found.loader, SourceFileLoader):
                return found
            file = self._files[fullname] = found.origin
        # A new specification each time: an import writes into it.
        return spec_from_file_location(fullname, file, loader=_KeptLoader(fullname, file, self._code))


def keep_workflow_code(package: str = "workflows") -> None:
    """From now on. A second call changes nothing."""
    if not any(isinstance(finder, KeptCode) for finder in sys.meta_path):
        sys.meta_path.insert(0, KeptCode(package))
