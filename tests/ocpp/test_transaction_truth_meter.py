"""What is booked of the registers of OCPP 1.6 stations: units, signs, gaps, resets."""

from __future__ import annotations

import pytest

from connectors.ocpp.wire.schemas import Json
from tests.ocpp.conftest import Site
from tests.ocpp.truth_site import ENERGY, V16, journal, meter, minute, row, sampled, start, stop, told

SAMPLES: list[tuple[str, list[Json], int, float, set[str]]] = [
    ("plain", [{"value": "100400"}, {"value": "100.9", "unit": "kWh"}], 101_000, 1_000, set()),
    ("kwh-in-many-digits", [{"value": "100.15012999999999", "unit": "kWh"}], 101_000, 1_000, set()),
    ("no-fields", [{"value": " 100400 "}, {"value": ""}, {"value": "none"}], 101_000, 1_000, set()),
    ("kwh-without-unit", [{"value": "100900"}, {"value": "101.5"}], 102_000, 2_000, {"unit_guessed"}),
    ("minus-one", [{"value": "-1", "unit": "Wh"}, {"value": "-1"}], 101_000, 1_000, set()),
    ("noise", [{"value": "103400", "unit": "Wh"}], 103_000, 3_400, {"register_noise"}),
    ("reset", [{"value": "103000", "unit": "Wh"}], 2_000, 5_000, {"register_reset"}),
    ("jump", [{"value": "9000000", "unit": "Wh"}], 9_000_500, 8_900_500, {"register_jumped"}),
    ("other-meter", [{"value": "100500", "unit": "Wh"}], 70_000, 500, {"register_replaced"}),
    ("other-place", [{"value": "9000000", "unit": "Wh", "location": "Inlet"}], 101_000, 1_000, set()),
    ("phases", [{"value": "50.2", "unit": "kWh", "phase": p} for p in ("L1", "L2")], 101_000, 1_000, set()),
]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("samples", "stop_wh", "energy_wh", "found"), [s[1:] for s in SAMPLES], ids=[s[0] for s in SAMPLES]
)
async def test_what_registers_show(
    site: Site, samples: list[Json], stop_wh: int, energy_wh: float, found: set[str]
) -> None:
    client = await site.connect(V16)
    number = await start(client, minute(0))
    if samples[0].get("phase"):
        value = {"timestamp": minute(2), "sampledValue": [s | {"measurand": ENERGY} for s in samples]}
        await meter(client, number, value)
    else:
        for place, sample in enumerate(samples):
            value = {"timestamp": minute(2 + place), "sampledValue": [sample]}
            await meter(client, number, value)
    await stop(client, number, minute(6), stop_wh)
    assert told(await row(site)) == (pytest.approx(energy_wh), found)


@pytest.mark.asyncio
async def test_an_int32_register_that_rolls_over(site: Site) -> None:
    client = await site.connect(V16)
    number = await start(client, minute(0), meter=2**31 - 500)
    await meter(client, number, sampled(minute(5), 1_000, unit="Wh"))
    await stop(client, number, minute(9), 2_000)
    assert told(await row(site)) == (2_500, {"register_rolled_over"})


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("meter_start", "meter_stop", "energy_wh", "found"),
    [
        (-1, 103_000, 2_000, {"meter_start_missing"}),
        (None, 103_000, 2_000, {"meter_start_missing"}),
        (-5, 103_000, 2_000, {"meter_negative", "meter_start_missing"}),
        (100_000, -1, 1_000, {"meter_stop_missing"}),
        (100_000, None, 1_000, {"meter_stop_missing"}),
        (100_000, -7, 1_000, {"meter_negative"}),
    ],
)
async def test_registers_that_are_not_said(
    site: Site, meter_start: int | None, meter_stop: int | None, energy_wh: float, found: set[str]
) -> None:
    client = await site.connect(V16)
    number = await start(client, minute(0), meter=meter_start)
    await meter(client, number, sampled(minute(5), 101_000, unit="Wh"))
    await stop(client, number, minute(9), meter_stop)
    assert told(await row(site)) == (energy_wh, found)


OCMF = 'OCMF|{"FV":"1.0","PG":"T1","RD":[{"RV":100.0,"RU":"kWh"},{"RV":102.5,"RU":"kWh"}]}|{"SD":"30"}'


@pytest.mark.asyncio
async def test_signed_values_are_read_and_kept_as_they_came(site: Site) -> None:
    client = await site.connect(V16)
    number = await start(client, minute(0))
    signed = sampled(minute(9), OCMF, format="SignedData", measurand=ENERGY, context="Transaction.End")
    unknown = sampled(minute(8), "AQIDBA==", format="SignedData", measurand=ENERGY)
    await stop(client, number, minute(9), None, transactionData=[unknown, signed])
    assert told(await row(site)) == (2_500, {"meter_stop_missing"})
    lines = [event for event in await journal(site, number) if event.kind == "meter"]
    bodies = [(line.body or {})["signed"]["value"] for line in lines]
    assert bodies == ["AQIDBA==", OCMF]
    assert [line.register_wh for line in lines] == [None, 102_500]


@pytest.mark.asyncio
async def test_samples_within_the_stop_count(site: Site) -> None:
    client = await site.connect(V16)
    number = await start(client, minute(0))
    data = [sampled(minute(m), wh, unit="Wh") for m, wh in ((3, 102_000), (5, 1_000), (6, 2_000))]
    await stop(client, number, minute(9), 3_000, transactionData=data)
    assert told(await row(site)) == (5_000, {"register_reset"})
    assert len([e for e in await journal(site, number) if e.kind == "meter"]) == 3
