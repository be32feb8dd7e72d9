"""Whom a simulated charge point knows: its local authorization list, its cache, and what it tells of them.

OCPP 1.6 sections 5.4, 5.10, 5.15; OCPP 2.0.1 part 2 C11 (cache), D01-D02 (list), N09-N10 (customer data).
"""

from __future__ import annotations

import json

from simulators.charge_point.device_state import DeviceState, Handler, Json, objects, read_time
from simulators.charge_point.settings import Settings

_TEXT_PER_PART = 512


class Tokens:
    def __init__(self, state: DeviceState, settings: Settings) -> None:
        self._state, self._settings = state, settings
        self._info = "idTagInfo" if state.is_16 else "idTokenInfo"
        self._list: dict[str, Json] = {}
        self._list_version = 0
        self._cache: dict[str, str] = {}

    def handlers(self) -> dict[str, Handler]:
        found: dict[str, Handler] = {
            "SendLocalList": self._send_list,
            "GetLocalListVersion": self._list_version_reply,
            "ClearCache": self._clear_cache,
        }
        return found if self._state.is_16 else {**found, "CustomerInformation": self._customer}

    # --- the station asks -------------------------------------------------------------------------------

    def status(self, id_token: str) -> str | None:
        """As the list, then the cache has it; None: the central system has to be asked."""
        entry = self._list.get(id_token.lower()) if self._settings.is_on("LocalAuthListEnabled") else None
        if entry is None:
            is_on = self._settings.is_on("AuthorizationCacheEnabled")
            return self._cache.get(id_token.lower()) if is_on else None
        expiry = entry[self._info].get("expiryDate") or entry[self._info].get("cacheExpiryDateTime")
        is_over = expiry is not None and read_time(expiry) <= self._state.now()
        return "Expired" if is_over else str(entry[self._info]["status"])

    def remember(self, id_token: str, status: str) -> None:
        """What the central system said goes to the cache."""
        self._cache[id_token.lower()] = status

    # --- messages ---------------------------------------------------------------------------------------

    def _send_list(self, body: Json) -> Json:
        if not self._settings.is_on("LocalAuthListEnabled"):
            return self._state.reply("NotSupported" if self._state.is_16 else "Failed", "NotEnabled")
        number = int(body["listVersion" if self._state.is_16 else "versionNumber"])
        entries = objects(body.get("localAuthorizationList"))
        tokens = [self._token(entry) for entry in entries]
        is_full = body["updateType"] == "Full"
        if number < 1 or len(set(tokens)) != len(tokens):
            return self._state.reply("Failed", "InvalidValue")
        if is_full and any(self._info not in entry for entry in entries):
            return self._state.reply("Failed", "MissingParam")
        if not is_full and number <= self._list_version:
            return self._state.reply("VersionMismatch")
        changed = {} if is_full else dict(self._list)
        for token, entry in zip(tokens, entries, strict=True):
            if self._info in entry:
                changed[token] = entry
            else:
                changed.pop(token, None)
        too_many = len(entries) > self._settings.number("SendLocalListMaxLength")
        if too_many or len(changed) > self._settings.number("LocalAuthListMaxLength"):
            return self._state.reply("Failed", "TooManyElements")
        self._list, self._list_version = changed, number
        return self._state.reply("Accepted")

    def _token(self, entry: Json) -> str:
        return str(entry["idTag"] if self._state.is_16 else entry["idToken"]["idToken"]).lower()

    def _list_version_reply(self, body: Json) -> Json:
        """1.6: -1 is "no local list here"; 2.x: 0."""
        is_on = self._settings.is_on("LocalAuthListEnabled")
        if self._state.is_16:
            return {"listVersion": self._list_version if is_on else -1}
        return {"versionNumber": self._list_version if is_on else 0}

    def _clear_cache(self, body: Json) -> Json:
        if not self._settings.is_on("AuthorizationCacheEnabled"):
            return self._state.reply("Rejected", "NotEnabled")
        self._cache = {}
        return self._state.reply("Accepted")

    def _customer(self, body: Json) -> Json:
        """Exactly one way of naming the customer; clearing leaves the list to the central system (N10)."""
        named = [key for key in ("idToken", "customerIdentifier", "customerCertificate") if key in body]
        if len(named) != 1 or not (body["report"] or body["clear"]):
            return self._state.reply("Invalid", "InvalidValue")
        token = str(body["idToken"]["idToken"]).lower() if "idToken" in body else ""
        if body["report"]:
            text = self._known_of(token)
            parts = [text[at : at + _TEXT_PER_PART] for at in range(0, len(text), _TEXT_PER_PART)] or [""]
            told: list[Json] = [{"requestId": body["requestId"], "data": part} for part in parts]
            self._state.tell_parts("NotifyCustomerInformation", told)
        if body["clear"]:
            self._cache.pop(token, None)
        return self._state.reply("Accepted")

    def _known_of(self, token: str) -> str:
        known: Json = {}
        if token in self._list:
            known["localList"] = self._list[token]
        if token in self._cache:
            known["cache"] = self._cache[token]
        running = [t for t in self._state.transactions.values() if token and t.id_token.lower() == token]
        if running:
            known["transactions"] = [t.transaction_id for t in running]
        return json.dumps(known) if known else ""

    # --- restart ----------------------------------------------------------------------------------------

    def snapshot(self) -> Json:
        return {"list": self._list, "list_version": self._list_version, "cache": self._cache}

    def restore(self, kept: Json) -> None:
        self._list, self._cache = dict(kept["list"]), dict(kept["cache"])
        self._list_version = int(kept["list_version"])
