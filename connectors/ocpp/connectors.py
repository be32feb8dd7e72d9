"""A station's connectors as this connection has heard them: for planning, and for the stops concerned."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from connectors.ocpp.evidence import of_connector
from connectors.ocpp.ports import ConnectorFacts, House, StartOfTransaction, StationInfo, TransactionFacts
from connectors.ocpp.truth.clock import CLAMPED
from connectors.ocpp.truth.connector_news import ConnectorNews
from connectors.ocpp.truth.connector_state import ConnectorState, ConnectorTrack
from connectors.ports import RoutedEvidence
from models.evidence import EvidenceKind
from models.reason_codes import ReasonCode

_NEWS_FOR = timedelta(minutes=10)
"""A start that is told later than that, after an outage, says nothing of who stands there now."""


class Report(NamedTuple):
    """A connector's status. `said`: generation and word ("ocpp1.6:Charging"). `fault`, `fault_code`: of a
    fault. `detail`: of its time."""

    word: str
    at: datetime
    said: str
    fault: ReasonCode | None = None
    fault_code: str = ""
    detail: str = ""


class Connectors:
    """Of one connection. `facts` is always the newest open transaction of the connector, if there is one."""

    __slots__ = ("_house", "_news", "_tracks")

    def __init__(self, house: House) -> None:
        self._house = house
        self._tracks: dict[int, ConnectorTrack] = {}
        self._news: dict[int, ConnectorNews] = {}

    def track(self, station: StationInfo, number: int) -> ConnectorTrack:
        """From where the connection before left off."""
        track = self._tracks.get(number)
        if track is None:
            track = self._tracks[number] = ConnectorTrack(station.seen.get(number))
        return track

    def free_since(self, number: int) -> datetime | None:
        track = self._tracks.get(number)
        return track.since if track is not None and track.state is ConnectorState.FREE else None

    def _news_of(self, station: StationInfo, number: int) -> ConnectorNews:
        """What stops on their way were told of the connector last."""
        news = self._news.get(number)
        if news is None:
            seen = station.seen.get(number)
            news = ConnectorNews(seen.status, seen.fault_code) if seen else ConnectorNews()
            self._news[number] = news
        return news

    # --- reports ----------------------------------------------------------------------------------------

    async def report(
        self, station: StationInfo, number: int, report: Report, facts: TransactionFacts | None
    ) -> None:
        """What has been taken by its track: kept for planning, and told where it turned: somebody plugged in,
        another than we charges or has reserved it, it is out of order, it is free again."""
        track, news = self.track(station, number), self._news_of(station, number)
        turn = news.turn(track.state, report.fault_code or report.said)
        if turn is not None and turn.kind is EvidenceKind.CONNECTOR_OCCUPIED:
            is_strangers = await self._is_strangers(station, number, track.state, facts, report.at)
            turn = turn if is_strangers else None
        evidence: list[RoutedEvidence] = []
        if turn is not None:
            is_fault = turn.kind is EvidenceKind.CONNECTOR_FAULTED
            evidence = of_connector(
                station,
                number,
                turn.kind,
                report.at,
                facts=facts if is_fault else None,
                reason=(report.fault or _out_of_service(facts)) if is_fault else None,
                vendor_code=report.fault_code or report.said,
                detail=report.detail,
            )
        await self._house.connector(station, _facts_of(station, number, track), evidence)
        if turn is not None:
            news.told(turn)

    async def _is_strangers(
        self,
        station: StationInfo,
        number: int,
        state: ConnectorState,
        facts: TransactionFacts | None,
        at: datetime,
    ) -> bool:
        """Whether it is not we who use a connector that is in use. A status may overtake the start that it
        speaks of: while an attempt of ours waits for its start there, the transaction says whose it is."""
        if facts is not None:
            return facts.attempt_id is None
        return state is ConnectorState.RESERVED or not await self._house.expects_start(station, number, at)

    # --- transactions -----------------------------------------------------------------------------------

    def ours(self, station: StationInfo, facts: TransactionFacts) -> None:
        """A session of ours runs there."""
        if facts.attempt_id is not None:
            self._news_of(station, facts.connector_number).is_ours()

    def stranger(
        self, station: StationInfo, facts: TransactionFacts, start: StartOfTransaction
    ) -> list[RoutedEvidence]:
        """The start of another's transaction. Say `stranger_told` once it is durable. Without a token it may
        still become ours: in 2.x a transaction may begin with the plug. Where we refuse strangers it may be
        over in a moment: that the connector charges is waited for."""
        is_welcome = station.settings.foreign_tokens and bool(facts.id_tag)
        turn = self._news_of(station, facts.connector_number).turn(ConnectorState.CHARGING)
        is_now = facts.ended_at is None and start.started_at >= datetime.now(UTC) - _NEWS_FOR
        if facts.attempt_id is not None or not is_welcome or not is_now or turn is None:
            return []
        return of_connector(
            station,
            facts.connector_number,
            turn.kind,
            start.started_at,
            vendor_code=f"{facts.generation}:transaction",
            detail="" if start.clock_known else CLAMPED,
        )

    def stranger_told(self, station: StationInfo, facts: TransactionFacts, start: StartOfTransaction) -> None:
        if self.stranger(station, facts, start):
            news = self._news_of(station, facts.connector_number)
            turn = news.turn(ConnectorState.CHARGING)
            if turn is not None:
                news.told(turn)

    async def charging_state(
        self, station: StationInfo, facts: TransactionFacts, word: str, at: datetime, detail: str
    ) -> None:
        """2.x tells within the transaction what 1.6 tells in the status."""
        number = facts.connector_number
        track, news = self.track(station, number), self._news_of(station, number)
        before = track.state
        if not track.charging_state(word, at):
            return
        turn = news.turn(track.state)
        is_begun = bool(facts.id_tag) or facts.meter_start_wh is not None  # else it may still become ours
        is_strangers = facts.attempt_id is None and is_begun
        if turn is not None and (turn.kind is not EvidenceKind.CONNECTOR_OCCUPIED or not is_strangers):
            turn = None
        evidence: list[RoutedEvidence] = []
        if turn is not None:
            said = f"ocpp2.0.1:{word}"
            evidence = of_connector(station, number, turn.kind, at, vendor_code=said, detail=detail)
        if evidence or track.state is not before:
            await self._house.connector(station, _facts_of(station, number, track), evidence)
        if turn is not None:
            news.told(turn)


def _out_of_service(facts: TransactionFacts | None) -> ReasonCode:
    is_ours = facts is not None and facts.attempt_id is not None
    return ReasonCode.SUSTAIN_EVSE_FAULT if is_ours else ReasonCode.START_INOPERATIVE


def _facts_of(station: StationInfo, number: int, track: ConnectorTrack) -> ConnectorFacts | None:
    charger_id = station.connectors.get(number)
    if charger_id is None or track.at is None or track.since is None:
        return None
    if track.state is ConnectorState.UNKNOWN:
        return None
    return ConnectorFacts(
        charger_id=charger_id,
        status=track.status,
        status_at=track.at,
        state_since=track.since,
        changes_last_hour=track.changes_last_hour(track.at),
        fault_code=track.fault_code,
    )
