"""What an operator may send to a station, and what he may not, whatever his key allows.

A CALL that the gateway's own books depend on has its own way in: passwords (rotation), sessions (stops).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, cast
from urllib.parse import urlsplit

from connectors.ocpp.wire.schemas import Json, Version, schemas_of

_TOLD_BY_STATIONS = "is told by stations"


class Refused(Exception):
    """The command was not sent: `code` says why, in words of the specification where it has one."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code, self.detail = code, detail


def check_call(
    version: Version,
    action: str,
    payload: Json,
    *,
    incoming: Collection[str],
    transfer_hosts: Collection[str],
    security_profile: int,
) -> None:
    """Raises Refused. `incoming`: what stations tell us, which cannot be sent. `transfer_hosts`: where
    firmware may come from and logs may go to."""
    schemas = schemas_of(version)
    if not schemas.knows(action):
        raise Refused("NotImplemented", f"{version} has no {action}")
    if (action in incoming and action != "DataTransfer") or not schemas.answers(action):
        raise Refused("NotSupported", f"{action} {_TOLD_BY_STATIONS}")
    if action in ("RemoteStartTransaction", "RequestStartTransaction"):
        raise Refused("NotSupported", "a session is started by a charging stop, so that it is nobody's alone")
    for guard in (_no_passwords, _no_foreign_constraints):
        guard(action, payload)
    _no_downgrade(action, payload, security_profile)
    _known_hosts(payload, transfer_hosts)


def _variables(payload: Json) -> list[tuple[str, str]]:
    """(name, value) of a configuration change in either generation; names in lower case, as case does not
    count in them (CiString, identifierString)."""
    items = payload.get("setVariableData")
    found = [
        (str(_object(item.get("variable")).get("name", "")), str(item.get("attributeValue", "")))
        for item in map(_object, cast("list[Any]", items) if isinstance(items, list) else [])
    ]
    if "key" in payload:
        found.append((str(payload["key"]), str(payload.get("value", ""))))
    return [(name.strip().lower(), value) for name, value in found]


def _object(value: Any) -> Json:
    return cast(Json, value) if isinstance(value, dict) else {}


def _no_passwords(action: str, payload: Json) -> None:
    changed = _variables(payload) if action in ("ChangeConfiguration", "SetVariables") else []
    in_profile = "basicAuthPassword" in _object(payload.get("connectionData"))  # 2.1's SetNetworkProfile
    if in_profile or any(name in ("authorizationkey", "basicauthpassword") for name, _ in changed):
        raise Refused("SecurityError", "passwords are changed by rotation, which keeps both ends in step")


def _no_downgrade(action: str, payload: Json, security_profile: int) -> None:
    """A station's security profile is never lowered over OCPP (2.0.1 part 2, A05.FR.02)."""
    asked = [value for name, value in _variables(payload) if name == "securityprofile"]
    if action == "SetNetworkProfile":
        asked = [str(_object(payload.get("connectionData")).get("securityProfile", ""))]
    if any(not value.isdecimal() or int(value) < security_profile for value in asked):
        raise Refused("SecurityError", "a security profile is never lowered")


def _no_foreign_constraints(action: str, payload: Json) -> None:
    profile = _object(payload.get("chargingProfile") or payload.get("csChargingProfiles"))
    purpose = profile.get("chargingProfilePurpose")
    if action == "SetChargingProfile" and purpose == "ChargingStationExternalConstraints":
        raise Refused("NotSupported", "external constraints are not a central system's to set (K.3.2)")


def _known_hosts(payload: Json, transfer_hosts: Collection[str]) -> None:
    """Every address in a command must be on the list: a station fetches firmware from wherever it is told."""
    for url in _addresses(payload):
        host = _host_of(url)
        if host not in transfer_hosts:
            raise Refused("SecurityError", f"{host or 'this address'} is not on the list of transfer hosts")


def _host_of(url: str) -> str:
    """The one host that every reader of the address sees; empty where readers may differ: some take a
    backslash for a slash, some drop spaces and controls."""
    if "\\" in url or any(character <= " " or character == "\x7f" for character in url):
        return ""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _addresses(value: Any, name: str = "") -> list[str]:
    """What looks like one, and what stands where one belongs: `location`, `remoteLocation`, `ocppCsmsUrl`."""
    if isinstance(value, dict):
        return [url for key, item in cast(Json, value).items() for url in _addresses(item, key)]
    if isinstance(value, list):
        return [url for item in cast("list[Any]", value) for url in _addresses(item, name)]
    if isinstance(value, str) and ("://" in value or name.lower().endswith(("location", "url"))):
        return [value]
    return []
