"""Money is a Decimal and an ISO 4217 currency; rounding happens once, at the end, half up."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from typing import Annotated

from pydantic import Field

from models.base import Message

Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$", examples=["EUR"])]

_MINOR_DIGITS = {"JPY": 0, "KRW": 0, "ISK": 0, "HUF": 2, "KWD": 3, "BHD": 3, "TND": 3}


class Money(Message):
    """An amount in major units (12.34 EUR)."""

    amount: Decimal = Field(examples=["12.34"])
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
