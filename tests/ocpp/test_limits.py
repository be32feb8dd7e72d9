"""Charging limits over the real gateway at live simulated stations: accepted is not applied, and applied is
what the vehicle really gets."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from connectors.ocpp.limits.profiles import pauses
from models.charging_limit import LimitPurpose, LimitState, ReadBack
from models.commands import CommandOutcome
from models.station_commands import StationTask, StationTaskKind
from tests.ocpp.conftest import Site
from tests.ocpp.limit_bench import AC, DC, VERSIONS, Version, live, until

every = pytest.mark.parametrize("version", VERSIONS)
every_2x = pytest.mark.parametrize("version", VERSIONS[1:])
STATION, TRANSACTION = LimitPurpose.STATION, LimitPurpose.TRANSACTION
STEP_KW = 0.07
"""What cutting an AC limit down to 0.1 A may cost."""


class TestObeyed:
    @every
    @pytest.mark.asyncio
    async def test_alternating_current(self, site: Site, version: Version) -> None:
        async with live(site, version) as bench:
            await bench.charge()
            await bench.until_drawn(22)
            reply = await bench.set(7.4)
            assert (reply.state, reply.read_back_by) == (LimitState.APPLIED, ReadBack.CURRENT_OFFERED)
            assert 7.4 - STEP_KW <= reply.read_back_kw <= 7.4 + 0.01
            await bench.until_drawn(reply.read_back_kw)
            await bench.told(reply, 1, "default")

    @every
    @pytest.mark.asyncio
    async def test_direct_current(self, site: Site, version: Version) -> None:
        async with live(site, version, DC) as bench:
            await bench.charge()
            reply = await bench.set(120)
            assert (reply.state, reply.read_back_by) == (LimitState.APPLIED, ReadBack.POWER_OFFERED)
            assert reply.read_back_kw == 120
            await bench.until_drawn(120)
            assert bench.calls("GetConfiguration") == bench.calls("GetVariables") == []
            await bench.told(reply, 1, "default")

    @every
    @pytest.mark.asyncio
    async def test_where_nothing_charges_the_schedule_tells(self, site: Site, version: Version) -> None:
        async with live(site, version) as bench:
            reply = await bench.set(11, number=2)
            assert (reply.state, reply.read_back_by) == (LimitState.APPLIED, ReadBack.COMPOSITE_SCHEDULE)
            assert reply.read_back_kw == pytest.approx(11, abs=STEP_KW)
            await bench.told(reply, 2, "default")
            await bench.charge(2)
            await bench.until_drawn(reply.read_back_kw, 2)

    @every
    @pytest.mark.asyncio
    async def test_a_limit_replaces_the_last_and_a_pause_is_a_pause(
        self, site: Site, version: Version
    ) -> None:
        async with live(site, version) as bench:
            await bench.charge()
            for kw in (11, 5, 16):
                assert (await bench.set(kw)).state is LimitState.APPLIED
                assert len(bench.installed) == 1
            assert pauses(bench.limit(4.0)), "below 6 A on three phases"
            reply = await bench.set(4.0)
            assert (reply.state, reply.read_back_kw) == (LimitState.APPLIED, 0)
            await until(
                lambda: bench.power_kw() == 0 and bench.station.connectors[1].status == "SuspendedEVSE"
            )
            session = bench.station.connectors[1].session
            assert session is not None
            paused_wh = session.energy_wh
            assert (await bench.set(16.0)).state is LimitState.APPLIED
            await until(lambda: bench.power_kw() > 15.9)
            assert session.energy_wh > paused_wh

    @every
    @pytest.mark.asyncio
    async def test_the_stations_maximum_is_for_all_connectors_together(
        self, site: Site, version: Version
    ) -> None:
        async with live(site, version, DC) as bench:
            idle = await bench.set(300, purpose=STATION)
            assert (idle.state, idle.read_back_by) == (LimitState.APPLIED, ReadBack.COMPOSITE_SCHEDULE)
            for number in (1, 2):
                await bench.charge(number)
            assert (await bench.set(60, number=2)).state is LimitState.APPLIED
            reply = await bench.set(200, purpose=STATION)
            assert (reply.state, reply.read_back_by) == (LimitState.APPLIED, ReadBack.POWER_OFFERED)
            assert reply.read_back_kw <= 200
            await bench.until_drawn(100, 1)
            await bench.until_drawn(60, 2)
            await bench.told(reply, 0, "station")

    @every
    @pytest.mark.asyncio
    async def test_side_by_side_and_one_after_another(self, site: Site, version: Version) -> None:
        async with live(site, version) as bench:
            for number in (1, 2):
                await bench.charge(number)
            replies = await asyncio.gather(
                *(bench.set(kw, number=number) for kw in (6, 9, 14) for number in (1, 2))
            )
            assert {reply.state for reply in replies} == {LimitState.APPLIED}
            for number in (1, 2):
                assert bench.in_force_kw(number) == pytest.approx(14, abs=STEP_KW)
                assert (await bench.rows())[number, "default"].limit.periods[0].limit_kw == 14

    @pytest.mark.asyncio
    async def test_a_task_carries_the_reply(self, site: Site) -> None:
        async with live(site, "ocpp2.0.1") as bench:
            fields: dict[str, Any] = {
                "command_id": "c1",
                "tenant_id": site.tenant_id,
                "station_id": site.station_id,
            }
            task = StationTask(**fields, kind=StationTaskKind.SET_LIMIT, limit=bench.limit(8.0))
            done = await site.gateway.do(task)
            assert done.outcome is CommandOutcome.ACCEPTED
            assert done.limit is not None
            assert done.limit.state is LimitState.APPLIED
            cleared = await site.gateway.do(task.model_copy(update={"kind": StationTaskKind.CLEAR_LIMIT}))
            assert cleared.limit is not None
            assert cleared.limit.state is LimitState.CLEARED
            assert bench.installed == []


class TestTransactionLimits:
    @every
    @pytest.mark.asyncio
    async def test_it_goes_with_its_transaction(self, site: Site, version: Version) -> None:
        async with live(site, version) as bench:
            reference = await bench.charge()
            assert (await bench.set(6)).state is LimitState.APPLIED
            reply = await bench.set(15, purpose=TRANSACTION, session_ref=reference)
            assert (reply.state, reply.read_back_by) == (LimitState.APPLIED, ReadBack.CURRENT_OFFERED)
            await bench.until_drawn(reply.read_back_kw)
            await bench.told(reply, 1, "transaction")
            await bench.stop()
            await until(lambda: len(bench.installed) == 1)
            assert bench.in_force_kw() == pytest.approx(6, abs=STEP_KW)

    @every
    @pytest.mark.asyncio
    async def test_only_while_its_transaction_runs_there(self, site: Site, version: Version) -> None:
        async with live(site, version) as bench:
            reference = await bench.charge()
            for number, ref in ((1, "4711"), (2, reference)):
                reply = await bench.set(15, number=number, purpose=TRANSACTION, session_ref=ref)
                assert (reply.state, reply.vendor_code) == (LimitState.REFUSED, "")
                assert "transaction" in reply.detail
                await bench.told(reply, number, "transaction")
            await bench.stop()
            ended = await bench.set(15, purpose=TRANSACTION, session_ref=reference)
            assert ended.state is LimitState.REFUSED
            assert bench.calls("SetChargingProfile") == []

    @every
    @pytest.mark.asyncio
    async def test_cleared_it_gives_way_to_the_default(self, site: Site, version: Version) -> None:
        async with live(site, version, failsafe_kw=20) as bench:
            reference = await bench.charge()
            limit = bench.limit(15, purpose=TRANSACTION, session_ref=reference)
            assert (await site.gateway.set_limit(limit)).state is LimitState.APPLIED
            sets = len(bench.calls("SetChargingProfile"))
            reply = await site.gateway.clear_limit(limit)
            assert reply.state is LimitState.CLEARED
            await bench.told(reply, 1, "transaction")
            assert len(bench.calls("SetChargingProfile")) == sets, "no failsafe for what was no default"
            await bench.until_drawn(bench.in_force_kw() or 0)
            assert bench.power_kw() == pytest.approx(10, abs=STEP_KW)


class TestFailsafe:
    @every
    @pytest.mark.parametrize("standard", [AC, DC])
    @pytest.mark.asyncio
    async def test_at_boot_every_connector_gets_its_share(
        self, site: Site, version: Version, standard: Any
    ) -> None:
        async with live(site, version, standard, failsafe_kw=20) as bench:
            rows = await bench.rows()
            assert sorted(rows) == [(1, "default"), (2, "default")]
            assert {row.reply.state for row in rows.values()} == {LimitState.APPLIED}
            assert sum(row.limit.periods[0].limit_kw for row in rows.values()) <= 20
            for number in (1, 2):
                await bench.charge(number)
            await bench.until_drawn(bench.in_force_kw(1) or 0, 1)
            await bench.until_drawn(bench.in_force_kw(2) or 0, 2)
            assert 20 - 2 * STEP_KW <= bench.power_kw(1) + bench.power_kw(2) <= 20
            states = [line["state"] for line in await bench.log()]
            assert states[:2] == ["applied", "applied"]
            assert set(states) == {"applied"}, "what the charges show later agrees"

    @every
    @pytest.mark.asyncio
    async def test_it_comes_back_where_a_limit_was_cleared_and_only_there(
        self, site: Site, version: Version
    ) -> None:
        async with live(site, version, failsafe_kw=20) as bench:
            await bench.charge()
            assert (await bench.set(18, number=1)).state is LimitState.APPLIED
            assert (await bench.set(5, number=2)).state is LimitState.APPLIED
            reply = await site.gateway.clear_limit(bench.limit(18, number=1))
            assert reply.state is LimitState.CLEARED
            assert bench.in_force_kw(1) == pytest.approx(10, abs=STEP_KW)
            assert bench.in_force_kw(2) == pytest.approx(5, abs=STEP_KW), "its own limit stands"
            await bench.until_drawn(bench.in_force_kw(1) or 0)
            rows = await bench.rows()
            assert rows[1, "default"].limit.limit_id.startswith("failsafe:")
            assert rows[2, "default"].limit.periods[0].limit_kw == 5
            assert [line["state"] for line in await bench.log()][-2:] == ["cleared", "applied"]

    @every
    @pytest.mark.asyncio
    async def test_again_at_every_boot(self, site: Site, version: Version) -> None:
        async with live(site, version, failsafe_kw=20) as bench:
            before = len(await bench.log())
            bench.station.commands.device.rebooted()
            bench.station.reboot("RemoteReset")
            async with asyncio.timeout(15):
                while len(await bench.log()) < before + 2:
                    await asyncio.sleep(0.02)
            for number in (1, 2):
                assert bench.in_force_kw(number) == pytest.approx(10, abs=STEP_KW)

    @every
    @pytest.mark.asyncio
    async def test_a_limit_in_force_comes_back_at_a_boot(self, site: Site, version: Version) -> None:
        """The station has forgotten it, and the failsafe allows more."""
        async with live(site, version, failsafe_kw=20) as bench:
            limits = [await bench.set(5), await bench.set(14, purpose=STATION)]
            began = datetime.now(UTC) - timedelta(hours=1)
            over = await bench.set(6, number=2, starts_at=began)
            assert [reply.state for reply in (*limits, over)] == [LimitState.APPLIED] * 3
            async with site.store.tenant(site.tenant_id) as unit:
                ended = bench.limit(6, number=2, starts_at=began, duration_s=60)
                await unit.stations.put_limit(ended, over)
            before = len(await bench.log())
            bench.installed.clear()
            bench.station.commands.device.rebooted()
            bench.station.reboot("PowerUp")
            async with asyncio.timeout(15):
                while len(await bench.log()) < before + 3:
                    await asyncio.sleep(0.02)
            assert len(bench.installed) == 3
            assert bench.in_force_kw(1) == pytest.approx(5, abs=STEP_KW)
            rows = await bench.rows()
            assert rows[1, "default"].limit.periods[0].limit_kw == 5
            assert rows[0, "station"].limit.periods[0].limit_kw == 14
            assert rows[2, "default"].limit.limit_id.startswith("failsafe:"), "its own was over"
            bench.station.commands.device.rebooted()
            bench.station.reboot("PowerUp")
            async with asyncio.timeout(15):
                while len(await bench.log()) < before + 6:
                    await asyncio.sleep(0.02)
            assert (await bench.rows())[1, "default"].limit.starts_at == rows[1, "default"].limit.starts_at

    @pytest.mark.asyncio
    async def test_none_where_none_is_wanted(self, site: Site) -> None:
        async with live(site, "ocpp1.6") as bench:
            assert (await site.gateway.clear_limit(bench.limit(5))).state is LimitState.CLEARED
            assert bench.calls("SetChargingProfile") == bench.installed == []


class TestRefused:
    @every_2x
    @pytest.mark.asyncio
    async def test_another_ones_profile_is_in_the_way(self, site: Site, version: Version) -> None:
        async with live(site, version) as bench:
            schedule = {
                "id": 7,
                "chargingRateUnit": "A",
                "startSchedule": "2026-01-01T00:00:00Z",
                "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 10}],
            }
            foreign = {
                "id": 7,
                "stackLevel": 0,
                "chargingProfilePurpose": "TxDefaultProfile",
                "chargingProfileKind": "Absolute",
                "chargingSchedule": [schedule],
            }
            device = bench.station.commands.device
            installed = device.answer("SetChargingProfile", {"evseId": 1, "chargingProfile": foreign})
            assert installed == {"status": "Accepted"}
            reply = await bench.set(5)
            assert (reply.state, reply.vendor_code) == (LimitState.REFUSED, "Rejected DuplicateProfile")
            assert reply.read_back_kw is None
            await bench.told(reply, 1, "default")
            assert bench.in_force_kw() == pytest.approx(6.9)

    @every
    @pytest.mark.asyncio
    async def test_no_smart_charging(self, site: Site, version: Version) -> None:
        async with live(site, version, quirks={"no_smart_charging"}, failsafe_kw=20) as bench:
            word = "NotSupported" if version == "ocpp1.6" else "CALLERROR NotImplemented"
            rows = await bench.rows()
            assert [(row.reply.state, row.reply.vendor_code) for row in rows.values()] == [
                (LimitState.REFUSED, word)
            ] * 2
            reply = await bench.set(5)
            assert (reply.state, reply.vendor_code) == (LimitState.REFUSED, word)
            await bench.told(reply, 1, "default")
            cleared = await site.gateway.clear_limit(bench.limit(5))
            assert cleared.state is LimitState.REFUSED
            assert "NotImplemented" in cleared.vendor_code

    @every
    @pytest.mark.asyncio
    async def test_before_its_time_it_does_not_replace_the_one_in_force(
        self, site: Site, version: Version
    ) -> None:
        async with live(site, version) as bench:
            applied = await bench.set(11)
            assert applied.state is LimitState.APPLIED
            now = datetime.now(UTC)
            for starts_at in (now + timedelta(hours=1), now + timedelta(seconds=30)):
                reply = await bench.set(5, starts_at=starts_at)
                assert reply.state is LimitState.REFUSED
                assert "send it when it starts" in reply.detail
            assert (await bench.rows())[1, "default"].reply == applied, "the refused one hides it"
            assert (await bench.log())[-1]["state"] == LimitState.REFUSED
            over = await bench.set(5, starts_at=now - timedelta(hours=1), duration_s=60)
            assert (over.state, over.detail) == (LimitState.REFUSED, "the limit is already over")
            assert len(bench.calls("SetChargingProfile")) == 1
            assert bench.in_force_kw() == pytest.approx(11, abs=STEP_KW)

    @every
    @pytest.mark.asyncio
    async def test_a_callers_clock_a_moment_ahead_means_now(self, site: Site, version: Version) -> None:
        async with live(site, version) as bench:
            await bench.charge()
            reply = await bench.set(5, 9, starts_at=datetime.now(UTC) + timedelta(seconds=2))
            assert reply.state is LimitState.APPLIED
            assert bench.in_force_kw() == pytest.approx(5, abs=STEP_KW)
