"""The ground of all wire models: fields we do not know are kept, unknown enum values stay text and are
counted, text keeps its case, times keep their spelling, numbers are Decimal and go back out as numbers.

What was read goes back out unchanged: `dump(parse(x)) == x` (OCPI 2.2.1, section 17 "Types")."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Annotated, Any, Final, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, GetCoreSchemaHandler, PlainSerializer
from pydantic_core import core_schema

from connectors.ocpi import counts

_OFFSET: Final = re.compile(r"[+-]\d\d:?\d\d$")


class Wire(BaseModel):
    """Base of what OCPI partners send and get."""

    model_config = ConfigDict(extra="allow", frozen=True)

    def dump(self) -> dict[str, Any]:
        """As JSON types, only what was given."""
        return self.model_dump(mode="json", exclude_unset=True)


class CiString(str):
    """Where the specification says CiString: keeps the case it came with; who compares it folds the case."""

    __slots__ = ()

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type[Any], handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(
            cls,
            # Feeds send numeric ids as numbers; the text is what identifies.
            core_schema.str_schema(coerce_numbers_to_str=True, max_length=255),
            serialization=core_schema.plain_serializer_function_ser_schema(str),
        )


class Instant(str):
    """An OCPI DateTime: RFC 3339 in UTC, with `Z` or without, fractions allowed. Keeps its spelling."""

    __slots__ = ()

    @property
    def at(self) -> datetime:
        """The instant, aware, in UTC."""
        return _parse_instant(self)

    @classmethod
    def of(cls, at: datetime) -> Instant:
        """Spelled with milliseconds and `Z`. Two states within one second must be told apart."""
        return cls(at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"))

    @classmethod
    def _validate(cls, value: str) -> Instant:
        _parse_instant(value)
        return cls(value)

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type[Any], handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(
            cls._validate,
            core_schema.str_schema(max_length=40),
            serialization=core_schema.plain_serializer_function_ser_schema(str),
        )


def _parse_instant(value: str) -> datetime:
    # An offset is against the specification, yet seen in feeds and unambiguous: read it.
    text = value.strip()
    parsed = datetime.fromisoformat(text)
    if parsed.tzinfo is None:
        if _OFFSET.search(text):
            raise ValueError("time with an unreadable offset")
        return parsed.replace(tzinfo=UTC)
    try:
        return parsed.astimezone(UTC)
    except OverflowError:
        raise ValueError("time beyond the calendar") from None


def _to_decimal(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return value
    try:
        number = Decimal(str(value))  # repr of a float is its shortest exact form: 0.1 stays 0.1
    except InvalidOperation as error:
        raise ValueError("not a number") from error
    if not number.is_finite():
        raise ValueError("not a finite number")
    return number


def _to_number(value: Decimal) -> int | float:
    return int(value) if value == value.to_integral_value() else float(value)


Number = Annotated[
    Decimal,
    BeforeValidator(_to_decimal),
    PlainSerializer(_to_number, return_type=int | float, when_used="json"),
]
"""A JSON number as Decimal. Feeds that send numbers as text are read too."""


def tolerant(kind: type[StrEnum]) -> Any:
    """Validator for a field of an enum: a value that the specification does not know stays text."""

    def read(value: object) -> object:
        if not isinstance(value, str):
            return value
        try:
            return kind(value)
        except ValueError:
            counts.UNKNOWN_ENUMS.labels(kind.__name__).inc()
            return value

    return BeforeValidator(read)


class Envelope(Wire):
    """Every OCPI reply (section 4.1.7). `data` may be absent, null or anything."""

    status_code: int
    status_message: str | None = None
    data: Any = None
    timestamp: str | None = None


def as_object(value: Any) -> dict[str, Any] | None:
    """The value as a JSON object, or None when it is something else."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def as_list(value: Any) -> list[Any] | None:
    """The value as a JSON array, or None when it is something else."""
    return cast("list[Any]", value) if isinstance(value, list) else None
