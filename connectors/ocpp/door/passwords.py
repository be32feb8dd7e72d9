"""How a station's password is made and kept: models/station_passwords.py, which the API needs too."""

from __future__ import annotations

from models.station_passwords import NOBODY, hash_password, matches, new_password

__all__ = ["NOBODY", "hash_password", "matches", "new_password"]
