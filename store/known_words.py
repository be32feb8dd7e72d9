"""Rows that a newer version wrote, read by this one: versions overlap in every roll-out.

What this version does not know (a reason code, a phase, a state) is left out where it stands: null where the
model allows that, else without the entry of a list that it belongs to, else the field's default. One such row
hides no other, and is never an error."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, TypeVar, cast

import structlog
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

_log = structlog.get_logger(__name__)
M = TypeVar("M", bound=BaseModel)

_MOST_FAULTS = 100


def read_known(model: type[M], body: Mapping[str, Any], otherwise: Mapping[str, Any] | None = None) -> M:
    """`otherwise`: top-level values to take where the body says none that can be read; with only these, where
    too much is unknown. Raises ValidationError where they do not make the model either."""
    try:
        return model.model_validate(body)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
    last, known = dict(otherwise or {}), copy.deepcopy(dict(body))
    for _ in range(_MOST_FAULTS):
        _leave_out(known, fault, last)
        try:
            read = model.model_validate(known)
        except ValidationError as error:
            fault = error.errors(include_url=False)[0]
        else:
            _log.info("a row of another version", model=model.__name__, field=str(fault["loc"][0]))
            return read
    return model.model_validate(last)


def _leave_out(known: dict[str, Any], fault: ErrorDetails, otherwise: Mapping[str, Any]) -> None:
    """Change one thing, such that the same fault does not come again for ever."""
    path = _path_of(known, fault["loc"])
    if len(path) == 1:
        field = cast(str, path[0])
        if field in otherwise and known.get(field) != otherwise[field]:
            known[field] = otherwise[field]
        elif known.get(field) is not None and fault["type"] != "extra_forbidden":
            known[field] = None
        else:
            known.pop(field, None)
        return
    while True:
        inside = _at(known, path[:-1])
        place = path[-1]
        if isinstance(inside, list):
            del inside[cast(int, place)]
            return
        if fault["type"] == "extra_forbidden":
            inside.pop(place, None)
            return
        if inside.get(place) is not None:
            inside[place] = None
            return
        path = path[:-1]  # null does not do, either: without what it belongs to
        if len(path) == 1:
            known[cast(str, path[0])] = None
            return


def _path_of(known: dict[str, Any], loc: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """As far as the place of a fault leads into the data: a place also names choices of the model."""
    at: Any = known
    for depth, place in enumerate(loc):
        last = depth == len(loc) - 1
        if isinstance(at, dict) and (place in at or last):
            at = cast("dict[Any, Any]", at).get(place)
        elif isinstance(at, list) and isinstance(place, int) and place < len(cast("list[Any]", at)):
            at = cast("list[Any]", at)[place]
        else:
            return loc[: max(depth, 1)]
    return loc


def _at(known: dict[str, Any], path: tuple[int | str, ...]) -> Any:
    at: Any = known
    for place in path:
        at = at[place]
    return at
