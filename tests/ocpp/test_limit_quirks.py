"""Charging limits at live simulated stations that are silent, away, or have ways of their own."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from connectors.ocpp.limits import control as limits_module
from connectors.ocpp.limits.profiles import keeps, pauses
from models.charging_limit import ChargingLimit, LimitPeriod, LimitPurpose, LimitState, ReadBack
from models.evidence import EvidenceKind
from tests.ocpp.conftest import Site
from tests.ocpp.limit_bench import AC, DC, VERSIONS, Version, live, until

every = pytest.mark.parametrize("version", VERSIONS)
STATION, TRANSACTION = LimitPurpose.STATION, LimitPurpose.TRANSACTION


class TestLost:
    @pytest.mark.asyncio
    async def test_unreachable(self, site: Site) -> None:
        async with live(site, "ocpp1.6") as bench:
            control, limit = bench.connection.limits, bench.limit(5)
            bench.station.drop(60)
            await until(lambda: site.gateway.connection(site.station_id) is None)
            reply = await control.apply(limit)
            assert reply.state is LimitState.UNREACHABLE
            await bench.told(reply, 1, "default")
            assert (await site.gateway.set_limit(limit)).state is LimitState.UNREACHABLE
            assert (await control.clear(limit)).state is LimitState.UNREACHABLE

    @every
    @pytest.mark.asyncio
    async def test_silence_is_no_answer(
        self, site: Site, version: Version, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with live(site, version, DC) as bench:
            monkeypatch.setattr(limits_module, "_CALL_S", 0.3)
            bench.station.black_out(1.0)
            reply = await bench.set(50)
            assert reply.state is LimitState.UNCERTAIN
            await bench.told(reply, 1, "default")
            monkeypatch.setattr(limits_module, "_CALL_S", 10)
            assert (await bench.set(60)).state is LimitState.APPLIED, "the next one gets through"


class TestQuirks:
    @every
    @pytest.mark.parametrize("standard", [AC, DC])
    @pytest.mark.asyncio
    async def test_accepted_and_ignored_is_never_applied(
        self, site: Site, version: Version, standard: Any
    ) -> None:
        """Its composite schedule claims the limit; what it offers does not."""
        async with live(site, version, standard, quirks={"accepts_and_ignores"}) as bench:
            reference = await bench.charge()
            top_kw = 22.0 if standard is AC else 350.0
            await bench.until_drawn(top_kw)
            for purpose, ref in ((LimitPurpose.DEFAULT, None), (STATION, None), (TRANSACTION, reference)):
                reply = await bench.set(11, purpose=purpose, session_ref=ref)
                assert reply.state is LimitState.ACCEPTED
                assert reply.read_back_kw == pytest.approx(top_kw, rel=0.01)
                assert reply.detail == f"asked for 11 kW, shows {reply.read_back_kw:.4g} kW"
                await bench.told(reply, 0 if purpose is STATION else 1, str(purpose))
            assert bench.power_kw() == top_kw

    @every
    @pytest.mark.parametrize("standard", [AC, DC])
    @pytest.mark.asyncio
    async def test_what_only_the_schedule_showed_is_found_out_by_the_first_charge(
        self, site: Site, version: Version, standard: Any
    ) -> None:
        async with live(site, version, standard, quirks={"accepts_and_ignores"}) as bench:
            idle = await bench.set(11)
            assert (idle.state, idle.read_back_by) == (LimitState.APPLIED, ReadBack.COMPOSITE_SCHEDULE)
            await bench.charge()
            async with asyncio.timeout(15):
                while (found := (await bench.rows())[1, "default"].reply).state is LimitState.APPLIED:
                    await bench.ask_for_meter()
            assert (found.state, found.limit_id) == (LimitState.ACCEPTED, idle.limit_id)
            assert found.detail.startswith("asked for 11 kW, its schedule agreed, and it shows ")
            assert (await bench.log())[-1]["state"] == LimitState.ACCEPTED

    @every
    @pytest.mark.parametrize("standard", [AC, DC])
    @pytest.mark.asyncio
    async def test_and_proved_by_it(self, site: Site, version: Version, standard: Any) -> None:
        async with live(site, version, standard) as bench:
            assert (await bench.set(11)).read_back_by is ReadBack.COMPOSITE_SCHEDULE
            await bench.charge()
            async with asyncio.timeout(15):
                while True:
                    found = (await bench.rows())[1, "default"].reply
                    if found.read_back_by is not ReadBack.COMPOSITE_SCHEDULE:
                        break
                    await bench.ask_for_meter()
            assert found.state is LimitState.APPLIED
            assert found.read_back_kw == pytest.approx(11, rel=0.01)

    @every
    @pytest.mark.asyncio
    async def test_a_station_that_says_watt_and_means_ampere(self, site: Site, version: Version) -> None:
        async with live(site, version, quirks={"says_watt_means_ampere"}, unit="A") as bench:
            assert (await bench.set(11)).state is LimitState.APPLIED
            await bench.charge()
            reply = await bench.set(7.4)
            assert (reply.state, reply.read_back_by) == (LimitState.APPLIED, ReadBack.CURRENT_OFFERED)
            await bench.until_drawn(reply.read_back_kw)
            assert bench.calls("GetConfiguration") == bench.calls("GetVariables") == []

    @every
    @pytest.mark.asyncio
    async def test_its_word_alone_does_not_make_it_applied(self, site: Site, version: Version) -> None:
        async with live(site, version, quirks={"says_watt_means_ampere"}) as bench:
            await bench.charge()
            await bench.until_drawn(22)
            reply = await bench.set(7.4)
            assert (reply.state, reply.read_back_kw) == (LimitState.ACCEPTED, pytest.approx(22, rel=0.01))

    @every
    @pytest.mark.asyncio
    async def test_a_pause_may_end_the_transaction(self, site: Site, version: Version) -> None:
        async with live(site, version, quirks={"ends_at_zero"}) as bench:
            await bench.charge()
            limit = bench.limit(3.0)
            assert pauses(limit), "known before it is sent"
            reply = await site.gateway.set_limit(limit)
            assert (reply.state, reply.read_back_kw) == (LimitState.APPLIED, 0)
            await site.sink.until(EvidenceKind.SESSION_ENDED)
            assert [entry.result for entry in bench.ledger.entries() if entry.what == "session_ended"] == [
                "Other"
            ]

    @every
    @pytest.mark.asyncio
    async def test_an_empty_schedule_shows_nothing(self, site: Site, version: Version) -> None:
        async with live(site, version, quirks={"empty_composite"}) as bench:
            idle = await bench.set(11)
            assert (idle.state, idle.read_back_kw) == (LimitState.ACCEPTED, None)
            assert idle.detail == "the station shows nothing of it"
            await bench.told(idle, 1, "default")
            await bench.charge()
            assert (await bench.set(7)).state is LimitState.APPLIED


class TestUnit:
    @pytest.mark.parametrize(
        ("version", "words", "unit"),
        [
            ("ocpp1.6", "Current", "A"),
            ("ocpp1.6", "Power", "W"),
            ("ocpp1.6", "Power,Current", "A"),
            ("ocpp1.6", "Current, Power", "A"),
            ("ocpp2.0.1", "A", "A"),
            ("ocpp2.0.1", "W", "W"),
            ("ocpp2.1", "W,A", "A"),
            ("ocpp2.1", "W", "W"),
        ],
    )
    @pytest.mark.asyncio
    async def test_asked_for_once_and_spoken(
        self, site: Site, version: Version, words: str, unit: str
    ) -> None:
        async with live(site, version, failsafe_kw=20, allowed_units=words) as bench:
            await bench.charge()
            replies = await asyncio.gather(bench.set(7, number=1), bench.set(9, number=2))
            assert [reply.state for reply in replies] == [LimitState.APPLIED] * 2
            assert {profile.schedule["chargingRateUnit"] for profile in bench.installed} == {unit}
            assert len(bench.calls("GetConfiguration") + bench.calls("GetVariables")) == 1
            await bench.until_drawn(replies[0].read_back_kw)


@pytest.mark.parametrize(("phases", "kw", "most_kw"), [(None, 350, 353.5), (3, 11, 11.55), (1, 0, 0.07)])
def test_direct_current_is_held_more_closely(phases: Any, kw: float, most_kw: float) -> None:
    limit = ChargingLimit(
        limit_id="l",
        tenant_id="t",
        station_id="s",
        connector_number=1,
        purpose=LimitPurpose.DEFAULT,
        periods=(LimitPeriod(limit_kw=kw),),
        phases=phases,
    )
    assert keeps(limit, kw, most_kw)
    assert not keeps(limit, kw, most_kw + 0.01)
