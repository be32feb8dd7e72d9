"""Money is a Decimal and an ISO 4217 currency; rounding happens once, at the end, half up."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from typing import Annotated

from pydantic import AfterValidator, Field

from models.base import Message

Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$", examples=["EUR"])]

_MINOR_DIGITS = {"JPY": 0, "KRW": 0, "ISK": 0, "HUF": 2, "KWD": 3, "BHD": 3, "TND": 3}

_FINEST = Decimal(1).scaleb(-12)
MOST_PER_UNIT = Decimal(10) ** 6
"""For a kWh or an hour, in any currency's major unit (the rial has six digits for a kWh)."""
MOST_OF_ONE_SESSION = Decimal(10) ** 9
"""What a peer may say that one session costs; a ceiling or a fee."""
MOST_MONEY = Decimal(10) ** 12
"""What all that is allowed can add up to is allowed: adding never fails half-way."""


def _to_12_decimals(value: Decimal) -> Decimal:
    """Divisions make 28 digits; what is kept and hashed has 12 decimals at most."""
    if value.adjusted() < -13:
        return Decimal(0)
    exponent = value.as_tuple().exponent
    return value.quantize(_FINEST) if isinstance(exponent, int) and exponent < -12 else value


Amount = Annotated[Decimal, Field(ge=-MOST_MONEY, le=MOST_MONEY), AfterValidator(_to_12_decimals)]
Fee = Annotated[Decimal, Field(ge=0, le=MOST_OF_ONE_SESSION), AfterValidator(_to_12_decimals)]
"""A price in major units for something as a whole."""
UnitPrice = Annotated[Decimal, Field(ge=0, le=MOST_PER_UNIT), AfterValidator(_to_12_decimals)]
"""A price in major units per kWh or per hour, as its field says."""


class Money(Message):
    """An amount in major units (12.34 EUR), at most 10^12 either way, with 12 decimals at most."""

    amount: Amount = Field(examples=["12.34"])
    currency: Currency = "EUR"

    def plus(self, other: Money) -> Money:
        """Sum of two amounts. Raises ValueError when the currencies differ: we never convert silently."""
        if other.currency != self.currency:
            raise ValueError(f"cannot add {other.currency} to {self.currency}")
        return Money(amount=self.amount + other.amount, currency=self.currency)

    def rounded(self) -> Money:
        """Rounded half up to the currency's minor unit (ISO 4217), as invoices are."""
        step = Decimal(1).scaleb(-_MINOR_DIGITS.get(self.currency, 2))
        return Money(amount=self.amount.quantize(step, rounding=ROUND_HALF_UP), currency=self.currency)

    def __str__(self) -> str:
        return f"{self.rounded().amount} {self.currency}"
