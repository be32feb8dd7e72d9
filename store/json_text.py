"""The one place where our words become JSON text for PostgreSQL.

PostgreSQL has no NUL in its text and no half of a surrogate pair: one such character, sent by anybody, would
make the row unwritable for ever. They become U+FFFD here, and nowhere else; so do NaN and the infinities
become null.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any, cast

import orjson
from psycopg.types.string import StrDumperUnknown
from pydantic import BaseModel
from pydantic_core import PydanticSerializationError, to_jsonable_python

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_UNFIT = re.compile("[\x00\ud800-\udfff]")
_ESCAPED_NUL = "\\u0000"
_LONGEST_INTEGER_BITS = 1024


def safe_text(text: str) -> str:
    """The text without what PostgreSQL cannot hold."""
    return _UNFIT.sub(REPLACEMENT, text)


def json_text(value: Any) -> str:
    """JSON text of a model, or of plain data, that any jsonb column takes."""
    try:
        if isinstance(value, BaseModel):
            made = value.model_dump_json()
        else:
            made = orjson.dumps(value, default=_fragment).decode()
    except (
        PydanticSerializationError,
        TypeError,
        ValueError,
    ):  # half a surrogate pair, an integer of 200 bits
        return _slowly(value)
    # A backslash of somebody's own before it makes it harmless text: then the slow way changes nothing.
    return _slowly(value) if _ESCAPED_NUL in made else made


def _fragment(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return orjson.Fragment(value.model_dump_json())
    raise TypeError(f"{type(value).__name__} is not JSON")


def _slowly(value: Any) -> str:
    return json.dumps(_safe(value), ensure_ascii=False, allow_nan=False)


def _safe(value: Any) -> Any:
    if isinstance(value, BaseModel):
        # In Python's own words: half a surrogate pair cannot leave pydantic as JSON.
        return {safe_text(name): _safe(part) for name, part in value.model_dump().items()}
    if isinstance(value, str):
        return safe_text(str(value))
    if isinstance(value, Mapping):
        parts = cast(Mapping[Any, Any], value)
        return {safe_text(str(name)): _safe(part) for name, part in parts.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_safe(part) for part in cast(list[Any], value)]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, int):
        return value if value.bit_length() <= _LONGEST_INTEGER_BITS else None
    if value is None:
        return None
    return _plain(value)


def _plain(value: Any) -> Any:
    """Instants, amounts and the like, as pydantic writes them."""
    return _safe(to_jsonable_python(value))


class SafeTextDumper(StrDumperUnknown):
    """Text parameters of any statement."""

    def dump(self, obj: str) -> Any:
        return super().dump(safe_text(obj) if _UNFIT.search(obj) else obj)
