"""The pattern of the 2026 advisories on OCPP back ends, one section each (docs/ocpp.md): no authentication of
websockets (CWE-306), attempts without limit (CWE-307), a second connection that shadows or displaces the
station (CWE-613), station ids that can be guessed and tried."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

import models.station_passwords
from connectors.ocpp.door.entry import Knocks
from connectors.ocpp.server import Gateway
from models.commands import CommandKind, CommandOutcome
from models.station import StationEvent, StationEventKind, StationSettings
from models.station_passwords import hash_password
from tests.ocpp.case_station import BOOT_16, settle
from tests.ocpp.conftest import PASSWORD, Client, Site
from workers.gateway.house import OcppHouse

V16 = "ocpp1.6"


def basic(user: str, password: str | bytes) -> str:
    secret = password.encode() if isinstance(password, str) else password
    return "Basic " + base64.b64encode(user.encode() + b":" + secret).decode()


async def knock(
    url: str, *headers: tuple[str, str], versions: tuple[str, ...] = (V16,), source: str = "127.0.0.1"
) -> ClientConnection:
    return await connect(
        url,
        subprotocols=[Subprotocol(version) for version in versions],
        additional_headers=list(headers),
        compression=None,
        proxy=None,
        local_addr=(source, 0),
    )


async def status_of(
    url: str, *headers: tuple[str, str], versions: tuple[str, ...] = (V16,), source: str = "127.0.0.1"
) -> int:
    """101: it was let in."""
    try:
        socket = await knock(url, *headers, versions=versions, source=source)
    except InvalidStatus as refused:
        return refused.response.status_code
    await socket.close()
    return 101


@asynccontextmanager
async def gateway_with(site: Site, house: OcppHouse, **options: Any) -> AsyncIterator[str]:
    """The URL of the site's station at another gateway."""
    gateway = Gateway(house, 0.0, **options)
    await gateway.start("127.0.0.1", 0)
    try:
        yield f"ws://127.0.0.1:{gateway.port}/ocpp/{site.station_id}"
    finally:
        await gateway.stop()


# --- CWE-306: missing authentication ----------------------------------------------------------------------


@pytest.mark.asyncio
async def test_no_websocket_without_authentication(site: Site) -> None:
    right = basic(site.station_id, PASSWORD)
    attempts: list[list[tuple[str, str]]] = [
        [],
        [("Authorization", "")],
        [("Authorization", "Basic")],
        [("Authorization", "Basic !!!not base64!!!")],
        [("Authorization", basic(site.station_id, ""))],
        [("Authorization", basic("", PASSWORD))],
        [("Authorization", right.replace("Basic", "Bearer"))],
        [("Authorization", right), ("Authorization", right)],
        [("X-Forwarded-Proto", "https"), ("X-Forwarded-User", site.station_id)],
    ]
    answers = []
    for headers in attempts:
        site.gateway.door.knocks = Knocks()
        answers.append(await status_of(site.url, *headers))
    assert answers == [401] * len(attempts)
    assert await status_of(f"{site.url}?user={site.station_id}&password={PASSWORD}") == 401
    async with site.store.platform() as unit:
        assert await unit.find_route(site.station_id) is None
    assert site.gateway.connected == 0
    assert await status_of(site.url, ("Authorization", right)) == 101


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("open_door", "profile", "answer"), [(True, 0, 101), (True, 1, 401), (False, 0, 401), (True, 2, 401)]
)
async def test_an_open_door_needs_the_setting_and_the_stations_profile(
    site: Site, open_door: bool, profile: int, answer: int
) -> None:
    await settle(site, security_profile=profile)
    house = OcppHouse(site.store, "backstop-ocpp-open", site.sink, open_door=open_door)
    async with gateway_with(site, house) as url:
        assert await status_of(url) == answer


@pytest.mark.asyncio
@pytest.mark.parametrize("behind_proxy", [True, False])
async def test_the_proxys_word_on_tls_counts_only_behind_a_proxy(site: Site, behind_proxy: bool) -> None:
    await settle(site, security_profile=2)
    house = OcppHouse(site.store, "backstop-ocpp-proxied", site.sink)
    async with gateway_with(site, house, behind_tls_proxy=behind_proxy) as url:
        right = ("Authorization", basic(site.station_id, PASSWORD))
        told = ("X-Forwarded-Proto", "https")
        assert await status_of(url, right) == 401
        assert await status_of(url, right, told) == (101 if behind_proxy else 401)
        assert await status_of(url, told) == 401


# --- CWE-307: attempts without limit ----------------------------------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def bar_of(knocks: Knocks, clock: Clock, station_id: str, failures: int = 10) -> float:
    """How long so many failures bar a station."""
    for _ in range(failures):
        assert not knocks.is_barred("depot", station_id)
        knocks.failed("depot", station_id)
    begin = clock.now
    while knocks.is_barred("depot", station_id):
        clock.now += 1
    return clock.now - begin


def test_bars_double_up_to_a_quarter_of_an_hour_and_are_forgotten() -> None:
    clock = Clock()
    knocks = Knocks(clock)
    assert [bar_of(knocks, clock, "cp1") for _ in range(7)] == [30, 60, 120, 240, 480, 900, 900]
    assert bar_of(knocks, clock, "cp2") == 30
    clock.now += 1801
    assert bar_of(knocks, clock, "cp1") == 30


def test_a_station_that_gets_in_begins_anew() -> None:
    clock = Clock()
    knocks = Knocks(clock)
    for _ in range(5):
        for _ in range(9):
            knocks.failed("depot", "cp1")
        knocks.succeeded("depot", "cp1")
    assert bar_of(knocks, clock, "cp1") == 30


def test_one_station_never_bars_its_neighbours_however_long_it_tries() -> None:
    """Was a bug: its tries also counted for the address for ever, and ten requests for a wrong path barred
    the whole depot."""
    for name in ("cp1", ""):
        clock = Clock()
        knocks = Knocks(clock)
        for _ in range(500):
            knocks.failed("depot", name)
            assert not knocks.is_barred("depot", "cp2"), name
            while knocks.is_barred("depot", name):
                clock.now += 1


def test_many_names_bar_their_address_and_no_other() -> None:
    clock = Clock()
    knocks = Knocks(clock)
    tried = 0
    while not knocks.is_barred("attacker", "the-next"):
        knocks.failed("attacker", f"guess-{tried}")
        tried += 1
    assert tried == 100
    assert not knocks.is_barred("depot", "guess-1")
    clock.now += 31
    assert not knocks.is_barred("attacker", "the-next")


@pytest.mark.asyncio
async def test_attempts_are_limited_at_the_door(site: Site, unique: Any) -> None:
    clock = Clock()
    site.gateway.door.knocks = Knocks(clock)
    neighbour = unique("cp")
    async with site.store.platform() as unit:
        await unit.add_station(site.tenant_id, neighbour, hash_password(PASSWORD))
    wrong = ("Authorization", basic(site.station_id, "wrong"))
    right = ("Authorization", basic(site.station_id, PASSWORD))
    answers = [await status_of(site.url, wrong) for _ in range(12)]
    assert answers == [401] * 10 + [429] * 2
    assert await status_of(site.url, right) == 429, "not even with the right password"
    assert await status_of(site.url, right, source="127.0.0.2") == 101, "the bar is the address's own"
    url = site.url.replace(site.station_id, neighbour)
    assert await status_of(url, ("Authorization", basic(neighbour, PASSWORD))) == 101
    clock.now += 31
    assert await status_of(site.url, right) == 101


@pytest.mark.asyncio
async def test_attempts_at_once_are_limited_too(site: Site) -> None:
    wrong = ("Authorization", basic(site.station_id, "wrong"))
    answers: list[int] = []
    for _ in range(4):
        answers += await asyncio.gather(*(status_of(site.url, wrong) for _ in range(100)))
    assert set(answers) == {401, 429}
    assert answers.count(401) < 256, "no more than are looked at in one moment"


@pytest.mark.asyncio
async def test_behind_a_proxy_the_stations_own_address_counts(site: Site) -> None:
    """Was a bug: all stations had the proxy's address, and shared its bar."""
    house = OcppHouse(site.store, "backstop-ocpp-proxied", site.sink)
    wrong = ("Authorization", basic(site.station_id, "wrong"))
    right = ("Authorization", basic(site.station_id, PASSWORD))
    async with gateway_with(site, house, behind_tls_proxy=True) as url:
        for _ in range(10):
            assert await status_of(url, wrong, ("X-Forwarded-For", "made.up, 203.0.113.9")) == 401
        assert await status_of(url, right, ("X-Forwarded-For", "203.0.113.9")) == 429
        assert await status_of(url, right, ("X-Forwarded-For", "203.0.113.9, 198.51.100.7")) == 101
    for _ in range(10):  # without a proxy the header is anybody's word
        assert await status_of(site.url, wrong, ("X-Forwarded-For", "203.0.113.9")) == 401
    assert await status_of(site.url, right, ("X-Forwarded-For", "198.51.100.7")) == 429


# --- CWE-613: a second connection with the same id --------------------------------------------------------


async def log_of(site: Site, kind: StationEventKind, number: int) -> list[StationEvent]:
    """So many lines of the station's log, the oldest first."""
    async with asyncio.timeout(10):
        while True:
            async with site.store.tenant(site.tenant_id) as unit:
                found = await unit.stations.events(site.station_id, 50, kind)
            if len(found) >= number:
                return found[::-1]
            await asyncio.sleep(0.02)


async def generation_of(site: Site) -> str:
    async with site.store.platform() as unit:
        route = await unit.find_route(site.station_id)
    assert route is not None
    return route.generation


async def gets_the_commands(site: Site, client: Client) -> None:
    """The station's own socket is the one that counts."""
    sent = asyncio.create_task(site.gateway.send(site.command(CommandKind.UNLOCK)))
    call = await client.frame()
    await client.socket.send(json.dumps([3, call[1], {"status": "Unlocked"}]))
    assert (await sent).outcome is CommandOutcome.ACCEPTED


@pytest.mark.asyncio
async def test_whoever_does_not_show_who_he_is_displaces_nobody(site: Site) -> None:
    station = await site.connect(V16)
    await station.call("BootNotification", BOOT_16)
    held = await generation_of(site)
    for headers in ([], [("Authorization", basic(site.station_id, "wrong"))]):
        assert await status_of(site.url, *headers) == 401
    speechless = await site.connect("ocpp9.9")  # knows the password, and no OCPP of ours
    with pytest.raises(ConnectionClosed):
        await speechless.frame()
    assert await generation_of(site) == held
    assert site.gateway.counts["replaced"] == 0
    await gets_the_commands(site, station)
    assert "currentTime" in await station.call("Heartbeat", {})
    assert len(await log_of(site, StationEventKind.CONNECTED, 1)) == 1


@pytest.mark.asyncio
async def test_an_authenticated_newcomer_takes_the_place_and_the_log_says_so(site: Site) -> None:
    old = await site.connect(V16)
    await old.call("BootNotification", BOOT_16)
    first = await generation_of(site)
    new = await site.connect("ocpp2.0.1")
    await new.call("Heartbeat", {})
    second = await generation_of(site)
    assert second != first
    with pytest.raises(ConnectionClosed) as closed:
        await old.frame()
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1000, "replaced")
    came = await log_of(site, StationEventKind.CONNECTED, 2)
    assert [(event.body["generation"], event.body["version"]) for event in came] == [
        (first, V16),
        (second, "ocpp2.0.1"),
    ]
    assert came[0].body["address"] == "127.0.0.1"
    (went,) = await log_of(site, StationEventKind.DISCONNECTED, 1)
    assert went.body == {"generation": first, "version": V16, "reason": "replaced", "by": second}
    # The old socket's end has taken nothing away.
    assert await generation_of(site) == second
    assert site.gateway.held() == [second]
    await new.call("Heartbeat", {})
    await new.socket.close()
    _, left = await log_of(site, StationEventKind.DISCONNECTED, 2)
    assert left.body == {"generation": second, "version": "ocpp2.0.1", "reason": "closed", "code": 1000}
    async with asyncio.timeout(5):
        while site.gateway.connected:
            await asyncio.sleep(0.01)
    async with site.store.platform() as unit:
        assert await unit.find_route(site.station_id) is None


# --- ids that can be guessed ------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_guessed_id_learns_nothing(site: Site, unique: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """One answer, word for word, after the same number of hashes and of looks into the store."""
    by_certificate, is_bare = unique("cp"), unique("cp")
    async with site.store.tenant(site.tenant_id) as unit:
        tls = StationSettings(station_id=by_certificate, security_profile=3)
        await unit.stations.put(tls, hash_password(PASSWORD))
        await unit.stations.put(StationSettings(station_id=is_bare), None)  # no password yet
        await unit.stations.offer_password(site.station_id, hash_password("the next one, 16+"))
    hashed = {"count": 0}
    units = {"count": 0}
    digest, tenant, platform = models.station_passwords._digest, site.store.tenant, site.store.platform

    def counted(salt: str, password: bytes) -> str:
        hashed["count"] += 1
        return digest(salt, password)

    def in_tenant(*args: Any) -> Any:
        units["count"] += 1
        return tenant(*args)

    def on_platform() -> Any:
        units["count"] += 1
        return platform()

    monkeypatch.setattr(models.station_passwords, "_digest", counted)
    monkeypatch.setattr(site.store, "tenant", in_tenant)
    monkeypatch.setattr(site.store, "platform", on_platform)
    root = site.url.rpartition("/")[0]
    cases = {
        "wrong password": (site.url, basic(site.station_id, "wrong")),
        "wrong name": (site.url, basic("somebody", PASSWORD)),
        "unknown id": (f"{root}/nobody", basic("nobody", PASSWORD)),
        "lesser profile": (f"{root}/{by_certificate}", basic(by_certificate, PASSWORD)),
        "no password yet": (f"{root}/{is_bare}", basic(is_bare, "")),
        "id too long": (f"{root}/{'x' * 49}", basic("x" * 49, PASSWORD)),
        "id with a colon": (f"{root}/a:b", basic("a", PASSWORD)),
        "id and a line end": (f"{site.url}%0A", basic(site.station_id, PASSWORD)),
        "id and a path": (f"{site.url}/more", basic(site.station_id, PASSWORD)),
        "another path": (f"{root[: -len('/ocpp')]}/admin", basic(site.station_id, PASSWORD)),
        "climbing": (f"{root}/../ocpp/{site.station_id}", basic(site.station_id, PASSWORD)),
        "SQL": (f"{root}/x'%20OR%20'1'='1", basic(site.station_id, PASSWORD)),
    }
    seen = {}
    for name, (url, authorization) in cases.items():
        hashed["count"] = units["count"] = 0
        with pytest.raises(InvalidStatus) as refused:
            await knock(url, ("Authorization", authorization))
        answer = refused.value.response
        headers = sorted((key, value) for key, value in answer.headers.raw_items() if key != "Date")
        shown = (answer.status_code, answer.reason_phrase, bytes(answer.body), tuple(headers))
        seen[name] = (shown, hashed["count"], units["count"])
    assert set(seen.values()) == {seen["wrong password"]}, seen
    (status, _, body, _), hashes, looks = seen["wrong password"]
    assert (status, body, hashes, looks) == (401, b"", 2, 1)
