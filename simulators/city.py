"""The invented city of the demo's world: where its chargers stand, how strong they are, what they cost."""

from __future__ import annotations

from decimal import Decimal
from math import cos, radians

from models.charger import TariffTerms
from models.place import Place

CENTRE = Place(latitude=51.2300, longitude=6.7800)
METRES_PER_DEGREE = 111_195.0
DISTRICT_VANS = 40
DISTRICT_STEP_M = 14_000.0
STATION_RING_M = 70.0
FAST_KW, SLOW_KW = 150.0, 50.0
FAST_TARIFF = TariffTerms(energy_per_kwh=Decimal("0.47"))
SLOW_TARIFF = TariffTerms(energy_per_kwh=Decimal("0.44"))

# (name, operator, east km, north km, stations)
OCPP_SITES = (
    ("Depot Ahrenwerth", "Ahrenwerth Fleet", 0.0, 0.0, 4),
    ("Hub Nordkai", "Stromhof", -2.4, 2.6, 3),
    ("Hub Osttor", "Stromhof", 3.2, 1.2, 3),
    ("Hub Suedring", "Volthaus", 0.6, -3.0, 3),
)
# (name, east km, north km, energy price): two of them near each of the sites above
ROAMING_SITES = (
    ("Marktgarage", -1.5, 1.2, "0.45"),
    ("Bahnhof West", 1.5, 1.3, "0.45"),
    ("Speicherstadt", -0.9, 4.1, "0.46"),
    ("Hafenbecken", -4.3, 2.0, "0.46"),
    ("Messeplatz", 2.2, 3.0, "0.45"),
    ("Gewerbepark Ost", 4.9, 0.1, "0.45"),
    ("Suedstadtforum", -1.2, -2.2, "0.46"),
    ("Gartenstrasse", 2.1, -4.2, "0.46"),
)
EVSES_PER_LOCATION = 4
HOME_EVSES = 2


def moved(place: Place, east_m: float, north_m: float) -> Place:
    """The place so many metres east and north of another (flat earth: good for a city)."""
    return Place(
        latitude=round(place.latitude + north_m / METRES_PER_DEGREE, 6),
        longitude=round(
            place.longitude + east_m / (METRES_PER_DEGREE * cos(radians(place.latitude))),
            6,
        ),
    )
