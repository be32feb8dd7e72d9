"""The one base for messages that cross a process border, and the bounds of what they may carry.

What a caller writes (StrictMessage) is refused outside its bounds, by field. What a station, a partner or a
vehicle says (Message) is never refused for its words: those are cleaned (VendorWord, VendorText)."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any, cast

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
)

MOST_CHARACTERS = 2_000
"""Of any string that a caller writes; most fields allow fewer."""
MOST_WORD_CHARACTERS = 200

_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
"""C0, DEL and C1 control characters, and halves of surrogate pairs: PostgreSQL keeps neither a NUL nor a
half, UTF-8 has no halves, and the rest forges lines of logs and terminals."""
_UNFIT_IN_JSON = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


class Message(BaseModel):
    """A payload of a workflow, an activity or an API. Additive changes only: unknown fields are ignored,
    so that an older worker can read what a newer one wrote. Numbers are finite."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class StrictMessage(BaseModel):
    """A payload that a caller outside writes: a field we do not know is the caller's mistake, and told.

    Numbers are finite. Strings, also those in lists, are at most MOST_CHARACTERS long and hold no control
    character and no half of a surrogate pair. A dict is somebody else's JSON (an OCPP payload, with a
    certificate in it, say): its strings may have lines and any length that the request's own limit allows."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="after")
    @classmethod
    def _holds_text_that_can_be_kept(cls, value: object) -> object:
        _check_text(value)
        return value


def _check_text(value: object) -> None:
    """Raises ValueError. Walks without recursion: no depth of nesting may break it."""
    if value is None or isinstance(value, (float, int, BaseModel)):
        return
    rest: list[tuple[object, bool]] = [(value, False)]
    while rest:
        item, in_json = rest.pop()
        if isinstance(item, str):
            _check_string(item, in_json)
        elif isinstance(item, dict):
            for key, inner in cast("dict[object, object]", item).items():
                rest += [(key, True), (inner, True)]
        elif isinstance(item, (tuple, list, frozenset, set)):
            rest += [(inner, in_json) for inner in cast("list[object]", item)]


def _check_string(text: str, in_json: bool) -> None:
    if not in_json and len(text) > MOST_CHARACTERS:
        raise ValueError(f"a text may have at most {MOST_CHARACTERS} characters")
    found = (_UNFIT_IN_JSON if in_json else _UNFIT).search(text)
    if found is not None:
        raise ValueError(
            f"text holds a character that cannot be kept (U+{ord(found.group()):04X} at {found.start()})"
        )


def is_fit(text: str, most: int = MOST_WORD_CHARACTERS) -> bool:
    """Whether a text may be kept as it is: short enough, no control character, no half of a pair."""
    return len(text) <= most and _UNFIT.search(text) is None


def clean_text(value: Any, most: int = MOST_CHARACTERS) -> Any:
    """A vendor's words as they can be kept: what cannot is U+FFFD, what is too long is cut and ends in an
    ellipsis (so that a cut text equals no whole one). What is no string passes, for the field to judge."""
    if not isinstance(value, str) or is_fit(value, most):
        return value
    cut = value if len(value) <= most else value[: most - 1] + "\N{HORIZONTAL ELLIPSIS}"
    return _UNFIT.sub("\N{REPLACEMENT CHARACTER}", cut)


def one_line(value: Any) -> Any:
    """A person's note as a line of a log: line breaks and tabs become a space."""
    return re.sub("[\r\n\t]+", " ", value) if isinstance(value, str) else value


NoteText = Annotated[str, BeforeValidator(one_line)]
"""What a person typed, on one line."""

VendorWord = Annotated[str, BeforeValidator(partial(clean_text, most=MOST_WORD_CHARACTERS))]
"""A code or name in the sender's own words. Cleaned, never refused."""
VendorText = Annotated[str, BeforeValidator(clean_text)]
"""A sentence in the sender's own words. Cleaned, never refused."""


def _fit_id(value: str) -> str:
    if not is_fit(value, 255):
        raise ValueError("an id has at most 255 characters, and no control character")
    return value


PeerId = Annotated[str, AfterValidator(_fit_id)]
"""A peer's own id, as it will be said back to the peer. Refused, not cleaned: two ids must not become one."""

FIRST_INSTANT = datetime(1970, 1, 1, tzinfo=UTC)
LAST_INSTANT = datetime(2200, 1, 1, tzinfo=UTC)
"""Far enough from the ends of the calendar that adding and taking away any duration of ours is safe."""
_FIRST_PLANNED = datetime(2000, 1, 1, tzinfo=UTC)
_LAST_PLANNED = datetime(2100, 1, 1, tzinfo=UTC)


def _to_utc(value: datetime) -> datetime:
    try:
        at = value.astimezone(UTC)
    except OverflowError:
        at = None
    if at is None or not FIRST_INSTANT <= at <= LAST_INSTANT:
        raise ValueError("an instant lies between 1970-01-01 and 2200-01-01")
    return at


def _plannable(value: datetime) -> datetime:
    if not _FIRST_PLANNED <= value <= _LAST_PLANNED:
        raise ValueError("an instant of a stop lies between 2000-01-01 and 2100-01-01")
    return value


UtcDatetime = Annotated[AwareDatetime, AfterValidator(_to_utc)]
"""An aware instant, always in UTC, between 1970 and 2200. A naive value is refused."""
PlannedInstant = Annotated[UtcDatetime, AfterValidator(_plannable)]
"""An instant that a caller writes about a stop: between 2000 and 2100."""


def _in_calendar_or_none(value: Any, read: ValidatorFunctionWrapHandler) -> datetime | None:
    try:
        return read(value)
    except ValidationError as error:
        if all(fault["type"] == "value_error" for fault in error.errors()):
            return None
        raise


HeardInstant = Annotated[UtcDatetime | None, WrapValidator(_in_calendar_or_none)]
"""An instant by a peer's clock that is good to know and nothing depends on: None where it cannot be true."""

Count = Annotated[int, Field(ge=0, le=2_147_483_647)]
"""A number that PostgreSQL keeps in four bytes."""
