"""Places on earth and the distance between them."""

from __future__ import annotations

from math import asin, cos, radians, sin, sqrt
from typing import Annotated

from pydantic import Field

from models.base import Message

_EARTH_RADIUS_M = 6_371_008.8


class Place(Message):
    """WGS 84 coordinates in degrees."""

    latitude: Annotated[float, Field(ge=-90, le=90, examples=[51.2277])]
    longitude: Annotated[float, Field(ge=-180, le=180, examples=[6.7735])]

    def distance_m(self, other: Place) -> float:
        """Great-circle distance in metres (haversine, mean earth radius of IUGG)."""
        lat_1, lat_2 = radians(self.latitude), radians(other.latitude)
        half_lat = (lat_2 - lat_1) / 2
        half_lon = radians(other.longitude - self.longitude) / 2
        chord = sin(half_lat) ** 2 + cos(lat_1) * cos(lat_2) * sin(half_lon) ** 2
        return 2 * _EARTH_RADIUS_M * asin(sqrt(min(1.0, chord)))
