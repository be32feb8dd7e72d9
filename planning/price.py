"""What a session costs by a tariff, excl. VAT. Decimal throughout; rounded once, at the end."""

from __future__ import annotations

from decimal import Decimal

from models.charger import Charger, TariffTerms
from models.money import Money
from models.vehicle import DC_STANDARDS

ASSUMED_DC = TariffTerms(energy_per_kwh=Decimal("0.59"))
ASSUMED_AC = TariffTerms(energy_per_kwh=Decimal("0.49"))
"""For chargers whose tariff nobody told us (ad-hoc price level excl. VAT): an estimate, never an invoice."""

_SECONDS_PER_HOUR = Decimal(3600)


def price_session(tariff: TariffTerms, energy_kwh: float | Decimal, occupied_s: float | Decimal) -> Money:
    """Fee + energy + occupation, rounded half up to the minor unit. Negative readings count as 0."""
    energy = max(Decimal(0), Decimal(str(energy_kwh)))
    occupied = max(Decimal(0), Decimal(str(occupied_s)))
    amount = (
        tariff.session_fee
        + tariff.energy_per_kwh * energy
        + tariff.occupation_per_hour * occupied / _SECONDS_PER_HOUR
    )
    return Money(amount=amount, currency=tariff.currency).rounded()


def tariff_of(charger: Charger, currency: str) -> TariffTerms:
    """The charger's tariff, else the assumed price level in the policy's currency."""
    if charger.tariff is not None:
        return charger.tariff
    assumed = ASSUMED_DC if charger.standard in DC_STANDARDS else ASSUMED_AC
    return assumed if currency == assumed.currency else assumed.model_copy(update={"currency": currency})
