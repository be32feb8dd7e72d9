"""Where the servers of a run come from: the environment decides, the user's cache holds what was built."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

TEMPORAL_ADDRESS = "BACKSTOP_TEMPORAL_ADDRESS"
TEMPORAL_UI_URL = "BACKSTOP_TEMPORAL_UI_URL"
DATABASE_URL = "BACKSTOP_DATABASE_URL"
CACHE = "BACKSTOP_CACHE"

CHECKOUT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class StackSettings:
    """`temporal_address`, `database_url`: existing servers to use instead of our own ones."""

    cache: Path
    temporal_address: str | None = None
    temporal_ui_url: str | None = None
    database_url: str | None = None
    temporal_module: Path = CHECKOUT / "tools" / "temporal"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> StackSettings:
        """The same variables as every process of ours, an empty one counting as unset."""
        home = environment.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
        return cls(
            cache=Path(environment.get(CACHE) or f"{home}/backstop").expanduser().absolute(),
            temporal_address=environment.get(TEMPORAL_ADDRESS) or None,
            temporal_ui_url=environment.get(TEMPORAL_UI_URL) or None,
            database_url=environment.get(DATABASE_URL) or None,
        )

    @property
    def temporal_build(self) -> Path:
        """The folder of the built server; another version of the module is another folder."""
        pinned = (self.temporal_module / "go.sum").read_bytes()
        return self.cache / f"temporal-{hashlib.sha256(pinned).hexdigest()[:16]}"
