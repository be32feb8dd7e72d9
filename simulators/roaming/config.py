"""Configuration of the simulated roaming partner, and what it remembers of its peer."""

from __future__ import annotations

import base64
import binascii
from pathlib import Path

from models.base import Message
from simulators.twin import TwinLocation, TwinPace


class PartyConfig(Message):
    """The charge point operator that the process plays."""

    country_code: str = "DE"
    party_id: str = "RBX"
    name: str = "Roaming Box"


class RoamingConfig(Message):
    """Configuration file (JSON). `token_a`: what the eMSP registers with; it dies when the token given for it
    is first used. `emsp_versions_url` with `emsp_token_a`: this side registers instead. `token_c`: fixed in
    place of a random one, so that a restarted process still knows its peer. `state_path`: the peer is kept
    there over restarts. `page_limit`: objects per page."""

    pace: TwinPace = TwinPace()
    party: PartyConfig = PartyConfig()
    token_a: str = ""
    token_c: str | None = None
    emsp_versions_url: str = ""
    emsp_token_a: str = ""
    locations: tuple[TwinLocation, ...] = ()
    page_limit: int = 50
    state_path: Path | None = None


class Peer(Message):
    """The eMSP after the handshake. `token_in`: what it presents to us; `token_out`: what we present."""

    token_in: str
    token_out: str
    versions_url: str
    endpoints: dict[str, str]
    country_code: str = ""
    party_id: str = ""
    confirmed: bool = False


class HandshakeFailed(Exception):
    """The other side could not be read; answered with 3001."""


def header(token: str) -> dict[str, str]:
    """Authorization with the token in base64, as 2.2.1 wants it."""
    return {"authorization": f"Token {base64.b64encode(token.encode()).decode()}"}


def token_of(authorization: str | None) -> str:
    """The token of an Authorization header; empty when it cannot be read."""
    _, _, value = (authorization or "").partition(" ")
    try:
        return base64.b64decode(value, validate=True).decode().rstrip("\r\n")
    except (binascii.Error, UnicodeDecodeError):
        return ""
