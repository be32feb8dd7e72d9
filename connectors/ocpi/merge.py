"""PUT and PATCH rules (OCPI 2.2.1, section 4.1.5 and the modules' own), on JSON objects."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import orjson

from connectors.ocpi.wire import Instant, as_list, as_object


class PatchRefused(ValueError):
    """The PATCH breaks a rule; the text says which."""


def patch_instant(patch: dict[str, Any]) -> datetime:
    """A PATCH must carry last_updated. Raises PatchRefused."""
    try:
        return Instant(str(patch["last_updated"])).at
    except (KeyError, ValueError) as error:
        raise PatchRefused("last_updated is required") from error


def merged(stored: dict[str, Any], patch: dict[str, Any], *, appends: str | None = None) -> dict[str, Any]:
    """The object after the PATCH: fields given replace, others stay; the list `appends` grows instead
    (charging_periods of a session). An entry that is there already is a replay, and not appended again."""
    result = stored | patch
    if appends is not None and appends in patch:
        have = list(as_list(stored.get(appends)) or [])
        known = {orjson.dumps(item, option=orjson.OPT_SORT_KEYS) for item in have}
        for item in as_list(patch[appends]) or []:
            if orjson.dumps(item, option=orjson.OPT_SORT_KEYS) not in known:
                have.append(item)
        result[appends] = have
    return result


def child(parent: dict[str, Any], list_name: str, key: str, value: str) -> dict[str, Any] | None:
    """The entry of `parent[list_name]` whose `key` is `value`, compared without case."""
    for item in as_list(parent.get(list_name)) or []:
        entry = as_object(item)
        if entry is not None and str(entry.get(key, "")).casefold() == value.casefold():
            return entry
    return None


def with_child(parent: dict[str, Any], list_name: str, key: str, entry: dict[str, Any]) -> dict[str, Any]:
    """The parent with the entry put in place (or added), and its last_updated raised to the entry's: a
    child's change is the parent's change too."""
    wanted = str(entry.get(key, "")).casefold()
    items = as_list(parent.get(list_name)) or []
    kept = [item for item in items if str((as_object(item) or {}).get(key, "")).casefold() != wanted]
    position = next((n for n, item in enumerate(items) if item not in kept), len(kept))
    kept.insert(position, entry)
    result = parent | {list_name: kept}
    if newer(entry.get("last_updated"), parent.get("last_updated")):
        result["last_updated"] = entry["last_updated"]
    return result


def newer(one: Any, other: Any) -> bool:
    """Whether `one` is a later instant than `other`; what cannot be read is older than everything."""
    return _at(one) > _at(other)


def _at(value: Any) -> float:
    try:
        return Instant(str(value)).at.timestamp()
    except (ValueError, OverflowError):
        return float("-inf")
