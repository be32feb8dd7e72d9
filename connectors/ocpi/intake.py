"""Takes partners' objects in, however they come (pushed or pulled): stored as received first, then read,
then turned into chargers and evidence. Every method is repeatable: a retry ends in the same state."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import orjson
import structlog
from pydantic import ValidationError

from connectors.ocpi import counts, evidence, evse_news
from connectors.ocpi.mapping import Unmappable, chargers_of, terms_of
from connectors.ocpi.merge import newer
from connectors.ocpi.objects import Cdr, CommandResult, Location, Session, Tariff
from connectors.ocpi.ports import (
    AttemptOwner,
    LinkState,
    PartnerLink,
    PartnerUnit,
    RoamingStore,
    SentCommand,
    StoredObject,
)
from connectors.ocpi.wire import Instant
from connectors.ports import ChargerCatalogue, EvidenceSink, Quarantine, RoutedEvidence
from models.base import FIRST_INSTANT
from models.charger import Charger, TariffTerms
from models.commands import CommandKind

_log = structlog.get_logger(__name__)

LOCATION, TARIFF, SESSION, CDR, TOKEN, COMMAND = "location", "tariff", "session", "cdr", "token", "command"
_WITHDRAWN = "withdrawn_location"
"""Beside a location: since when the partner's full list lacks it; nothing where it is listed again."""


class Unreadable(ValueError):
    """An object that we cannot use; the text names fields, never values. Whoever catches it sets `body`
    aside: not where it is raised, because transactions are open there."""

    def __init__(self, module: str, reason: str, body: Any, detail: str) -> None:
        super().__init__(detail)
        self.module = module
        self.reason = reason
        self.body = body


def object_key(country_code: str, party_id: str, object_id: str) -> str:
    """How a partner's object is filed: parties compare without case, and so do ids."""
    return f"{country_code}*{party_id}*{object_id}".upper()


def faults_of(error: ValidationError) -> str:
    """Where a body breaks its schema, without the values."""
    return "; ".join(
        f"{'.'.join(str(part) for part in item['loc'])}: {item['type']}"
        for item in error.errors(include_url=False, include_input=False)[:5]
    )[:300]


def _check_clock(module: str, body: Any, *instants: Instant) -> None:
    """Raises Unreadable for a last_updated that cannot be right: it orders what comes, and from the future it
    would shut out all that follows."""
    latest = datetime.now(UTC) + evidence.AHEAD
    if not all(FIRST_INSTANT <= instant.at <= latest for instant in instants):
        raise Unreadable(module, f"{module}_clock", body, "last_updated is beyond the calendar, or ahead")


class Intake:
    """One per process. `meter_interval_s`: METER evidence comes at most this often per session."""

    def __init__(
        self,
        store: RoamingStore,
        sink: EvidenceSink,
        catalogue: ChargerCatalogue,
        quarantine: Quarantine,
        *,
        meter_interval_s: float = 60.0,
    ) -> None:
        self.store = store
        self._sink = sink
        self._catalogue = catalogue
        self._quarantine = quarantine
        self._meter_interval_s = meter_interval_s

    async def set_aside(
        self, link: PartnerLink, module: str, reason: str, body: Any, detail: str = ""
    ) -> None:
        """Keeps what cannot be used, raw, and counts it."""
        raw = body if isinstance(body, bytes) else orjson.dumps(body)
        counts.RECEIVED.labels(counts.module_label(module), "quarantined").inc()
        await self._quarantine.keep(link.tenant_id, f"ocpi:{link.partner_id}", reason, raw, detail)

    # --- locations and tariffs ----------------------------------------------------------------------------

    async def take_location(self, link: PartnerLink, body: dict[str, Any]) -> bool:
        """Stores a whole location and publishes its chargers. False when a newer one is stored already.
        Raises Unreadable."""
        location = self._read_location(body)
        key = object_key(location.country_code, location.party_id, location.id)

        def whole(stored: StoredObject | None) -> dict[str, Any] | None:
            stale = stored and newer(stored.body.get("last_updated"), body.get("last_updated"))
            return None if stale else body

        if await self.change_location(link, key, whole):
            return True
        await self.set_aside(link, "locations", "older_than_stored", body)
        return False

    async def change_location(
        self, link: PartnerLink, key: str, make: Callable[[StoredObject | None], dict[str, Any] | None]
    ) -> bool:
        """Stores what `make` makes of the stored location, and publishes its chargers. False where it makes
        nothing (what came is too old). Raises Unreadable, and what `make` raises.

        What stops must hear is durable before the change is: after a crash in between, the partner's retry
        finds the change still to be made, and tells it again under the same event ids."""
        told: set[str] = set()
        while True:
            async with self.store.unit(link) as unit:
                await unit.lock(f"{LOCATION}:{key}")
                stored = await unit.get(LOCATION, key)
                body = make(stored)
                if body is None:
                    return False
                before, location = _known(stored), self._read_location(body)
                withdrawn_at = _since(await unit.get(_WITHDRAWN, key))
                news = evse_news.turns(before, location, withdrawn_at)
                news = [item for item in news if item.event_id not in told]
                chargers: list[Charger] = []
                if not news:
                    await unit.put(LOCATION, key, body, location.last_updated.at)
                    chargers = await self._publish(link, unit, location, body)
                    if withdrawn_at is not None:
                        await unit.put(_WITHDRAWN, key, {})
            if not news:
                break
            await self._tell(link, news)
            told.update(item.event_id for item in news)
        await self._catalogue.upsert(link.tenant_id, _vanished(link, before, location) + chargers)
        return True

    def _read_location(self, body: dict[str, Any]) -> Location:
        """Raises Unreadable."""
        try:
            location = Location.model_validate(body)
        except ValidationError as error:
            raise Unreadable("locations", "location_unreadable", body, faults_of(error)) from None
        _check_clock("locations", body, location.last_updated)
        latest = datetime.now(UTC) + evidence.AHEAD
        if any(evse.last_updated.at > latest for evse in location.evses or []):
            raise Unreadable("locations", "locations_clock", body, "last_updated of an EVSE is ahead")
        return location

    async def _tell(self, link: PartnerLink, found: list[evidence.Evidence]) -> None:
        await self._sink.accept([RoutedEvidence(tenant_id=link.tenant_id, evidence=item) for item in found])

    async def _publish(
        self, link: PartnerLink, unit: PartnerUnit, location: Location, body: dict[str, Any]
    ) -> list[Charger]:
        ids = {str(t) for e in location.evses or [] for c in e.connectors for t in c.tariff_ids or []}
        terms = await self._terms(unit, location, ids)
        try:
            found = chargers_of(link, location, terms)
        except Unmappable as error:
            counts.RECEIVED.labels("locations", "quarantined").inc()
            await unit.set_aside("location_unmappable", orjson.dumps(body), str(error))
            return []
        for charger, address in found:
            await unit.put_address(charger.charger_id, address)
        return [charger for charger, _ in found]

    async def _terms(
        self, unit: PartnerUnit, location: Location, tariff_ids: set[str]
    ) -> dict[str, TariffTerms | None]:
        terms: dict[str, TariffTerms | None] = {}
        for tariff_id in sorted(tariff_ids):
            key = object_key(location.country_code, location.party_id, tariff_id)
            stored = await unit.get(TARIFF, key)
            if stored is not None and not stored.body.get("deleted"):
                terms[tariff_id] = terms_of(Tariff.model_validate(stored.body))
        return terms

    async def withdraw_location(self, link: PartnerLink, body: dict[str, Any]) -> None:
        """The partner's full list no longer has this location: its chargers are not planned any more, and who
        is on the way to one is told (again with each list that lacks it, under the same event ids)."""
        try:
            location = Location.model_validate(body)
            chargers = chargers_of(link, location, {}, vanished=True)
        except (ValidationError, Unmappable):
            return  # it was set aside when it came, and gave no chargers
        key = object_key(location.country_code, location.party_id, location.id)
        async with self.store.unit(link) as unit:
            await unit.lock(f"{LOCATION}:{key}")
            since = _since(await unit.get(_WITHDRAWN, key))
            if since is None:
                since = datetime.now(UTC)
                await unit.put(_WITHDRAWN, key, {"since": since.isoformat()})
        await self._tell(link, evse_news.withdrawn(location, since))
        await self._catalogue.upsert(link.tenant_id, [charger for charger, _ in chargers])

    async def take_tariff(self, link: PartnerLink, body: dict[str, Any]) -> None:
        """Raises Unreadable."""
        try:
            tariff = Tariff.model_validate(body)
        except ValidationError as error:
            raise Unreadable("tariffs", "tariff_unreadable", body, faults_of(error)) from None
        _check_clock("tariffs", body, tariff.last_updated)
        key = object_key(tariff.country_code, tariff.party_id, tariff.id)
        async with self.store.unit(link) as unit:
            await unit.put(TARIFF, key, body, tariff.last_updated.at)

    async def drop_tariff(self, link: PartnerLink, key: str) -> bool:
        """Marks a tariff as deleted; what it priced keeps its price. False when there is none."""
        async with self.store.unit(link) as unit:
            stored = await unit.get(TARIFF, key)
            if stored is None or stored.body.get("deleted"):
                return False
            await unit.put(TARIFF, key, stored.body | {"deleted": True}, stored.last_updated)
        return True

    # --- sessions and charge records ----------------------------------------------------------------------

    async def take_session(self, link: PartnerLink, body: dict[str, Any]) -> bool:
        """Stores a whole session (a newer one that is stored stays) and hands its evidence on. Returns
        whether it was the newest. Raises Unreadable."""
        session = self.read_session(body)
        key = object_key(session.country_code, session.party_id, session.id)
        async with self.store.unit(link) as unit:
            await unit.lock(f"{SESSION}:{key}")
            stored = await unit.get(SESSION, key)
            newest = stored is None or not newer(stored.body.get("last_updated"), body.get("last_updated"))
            if newest:
                await unit.put(SESSION, key, body, session.last_updated.at)
        # An older state that was overtaken still proves what it says (a start, say).
        await self.tell_session(link, session)
        return newest

    def read_session(self, body: dict[str, Any]) -> Session:
        """Raises Unreadable."""
        try:
            session = Session.model_validate(body)
        except ValidationError as error:
            raise Unreadable("sessions", "session_unreadable", body, faults_of(error)) from None
        _check_clock("sessions", body, session.last_updated)
        return session

    async def tell_session(self, link: PartnerLink, session: Session) -> None:
        """Evidence of a session, to whoever it belongs."""
        if evidence.unit_slip(session.charging_periods, session.kwh):
            await self.set_aside(
                link, "sessions", "session_energy_unit", session.dump(), "kwh and periods differ by a unit"
            )
        owner = await self._owner(
            link,
            session.authorization_reference,
            session.location_id,
            session.evse_uid,
            session.cdr_token.uid,
            evidence.told_at(session.start_date_time.at, session.last_updated.at)[0],
            session.id,
        )
        found = evidence.of_session(session, owner.attempt_id if owner else None, self._meter_interval_s)
        await self._route(link, owner, found)

    async def take_charge_record(self, link: PartnerLink, body: dict[str, Any]) -> str:
        """Stores a charge record and hands it on. Returns its key. Raises Unreadable, also when a record of
        that id is stored with other content: charge records do not change."""
        try:
            cdr = Cdr.model_validate(body)
        except ValidationError as error:
            raise Unreadable("cdrs", "charge_record_unreadable", body, faults_of(error)) from None
        key, now = object_key(cdr.country_code, cdr.party_id, cdr.id), datetime.now(UTC)
        async with self.store.unit(link) as unit:
            await unit.lock(f"{CDR}:{key}")
            stored = await unit.get(CDR, key)
            if stored is None:
                await unit.put(CDR, key, body, evidence.told_at(cdr.last_updated.at, now)[0])
        if stored is not None and stored.body != body:
            raise Unreadable(
                "cdrs", "charge_record_changed", body, "a charge record with this id exists and differs"
            )
        if cdr.credit:
            # It takes back money that may be settled: a person books it.
            await self.set_aside(link, "cdrs", "charge_record_is_credit", body)
            return key
        if evidence.unit_slip(cdr.charging_periods, cdr.total_energy):
            await self.set_aside(link, "cdrs", "charge_record_energy_unit", body)
        owner = await self._owner(
            link,
            cdr.authorization_reference,
            cdr.cdr_location.id,
            cdr.cdr_location.evse_uid,
            cdr.cdr_token.uid,
            evidence.told_at(cdr.start_date_time.at, now)[0],
            cdr.session_id,
        )
        found = evidence.of_charge_record(cdr, owner.attempt_id if owner else None, now)
        await self._route(link, owner, [found])
        return key

    async def _owner(
        self,
        link: PartnerLink,
        reference: str | None,
        location_id: str,
        evse_uid: str,
        token_uid: str,
        started_at: datetime,
        session_ref: str | None,
    ) -> AttemptOwner | None:
        """Our reference first; then the session's id; then token, EVSE and time (section 9 of the notes on
        partners that drop the reference)."""
        async with self.store.unit(link) as unit:
            if reference and (owner := await unit.owner_by_reference(reference)):
                counts.SESSION_EVIDENCE.labels("reference").inc()
                return owner
            if session_ref and (owner := await unit.owner_by_session(session_ref, location_id)):
                counts.SESSION_EVIDENCE.labels("session").inc()
                return owner
            owner = await unit.owner_by_start(location_id, evse_uid, token_uid, started_at)
        counts.SESSION_EVIDENCE.labels("window" if owner else "nobody").inc()
        return owner

    async def _route(
        self, link: PartnerLink, owner: AttemptOwner | None, found: list[evidence.Evidence]
    ) -> None:
        await self._sink.accept(
            [
                RoutedEvidence(
                    tenant_id=link.tenant_id, evidence=item, stop_id=owner.stop_id if owner else None
                )
                for item in found
            ]
        )

    # --- command results ----------------------------------------------------------------------------------

    async def take_command_result(self, link: PartnerLink, callback_id: str, body: dict[str, Any]) -> bool:
        """The asynchronous answer to a command. False when no such command was sent to this partner.
        Raises Unreadable."""
        async with self.store.unit(link) as unit:
            known = await unit.get(COMMAND, callback_id)
            if known is None:
                return False
            sent = SentCommand.model_validate(known.body)
            await unit.put("command_result", callback_id, body, datetime.now(UTC))
        try:
            result = CommandResult.model_validate(body)
        except ValidationError as error:
            raise Unreadable("commands", "command_result_unreadable", body, faults_of(error)) from None
        _log.info(
            "command result", command_id=sent.command_id, kind=sent.kind, result=str(result.result)[:40]
        )
        if sent.kind is CommandKind.START:
            # Results of stops are kept, not handed on: only the session's end proves a stop.
            found = evidence.of_command_result(sent, result, datetime.now(UTC))
            await self._sink.accept(
                [RoutedEvidence(tenant_id=link.tenant_id, evidence=found, stop_id=sent.stop_id)]
            )
        return True


def _known(stored: StoredObject | None) -> Location | None:
    """A stored location; None where it was kept before it was read as strictly as today."""
    try:
        return Location.model_validate(stored.body) if stored is not None else None
    except ValidationError:
        return None


def _since(mark: StoredObject | None) -> datetime | None:
    since = mark.body.get("since") if mark is not None else None
    return datetime.fromisoformat(str(since)) if since else None


def _vanished(link: PartnerLink, before: Location | None, after: Location) -> list[Charger]:
    """Connectors that the location has no more: not planned from now on."""
    gone = evse_news.vanished(before, after)
    try:
        found = chargers_of(link, gone, {}, vanished=True) if gone is not None else []
    except Unmappable:
        return []  # they were none of ours
    return [charger for charger, _ in found]


def may_use(link: PartnerLink) -> bool:
    """Whether the partner may use functional modules: TOKEN_A and TOKEN_B open versions and credentials
    only."""
    return link.state is LinkState.REGISTERED
