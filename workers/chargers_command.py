"""`backstop chargers`: commissioning at the prompt, over the HTTP API and nothing else.

Exit codes: 0 done; 1 refused, by the API or the station; 2 wrong usage; 3 not reached, nothing was sent;
4 not known yet, or never (sent, and no usable answer).
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, cast
from urllib.parse import quote

import httpx
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from models.charging_limit import LimitPurpose
from models.station import StationEventKind
from models.vehicle import ConnectorStandard
from workers.chargers_client import (
    EXITS,
    NOT_REACHED,
    UNCERTAIN,
    USAGE,
    Api,
    Failed,
    Json,
    api_of,
    check,
    err,
    friendly,
    new_key,
    payload_of,
    place_of,
    read_body,
)

app = typer.Typer(
    no_args_is_help=True,
    help="Commission charge points and command them. Needs BACKSTOP_API_KEY, and BACKSTOP_URL where the API "
    "is not on this machine.",
)

out = Console()
_SLACK_S = 15.0


@app.callback()
def connect(
    context: typer.Context,
    url: Annotated[str, typer.Option(envvar="BACKSTOP_URL")] = "http://127.0.0.1:8080",
    api_key: Annotated[str, typer.Option(envvar="BACKSTOP_API_KEY", help="`bsk_...`")] = "",
) -> None:
    context.obj = Api(url.rstrip("/"), api_key)


Station = Annotated[str, typer.Argument(help="The station's id, the last part of its OCPP address.")]
AsJson = Annotated[bool, typer.Option("--json", help="The API's own answer, for programs.")]
Key = Annotated[str, typer.Option("--key", help="Idempotency key: a repeat sends nothing.")]


def _at(station_id: str) -> str:
    return f"/stations/{quote(station_id, safe='')}"


def _print_json(body: Json) -> None:
    typer.echo(json.dumps(body, indent=2, ensure_ascii=False))


@app.command()
def add(
    context: typer.Context,
    station_id: Station,
    file: Annotated[Path | None, typer.Option(help="The PUT body as JSON, in place of options.")] = None,
    connectors: Annotated[int | None, typer.Option(min=1, max=100, help="How many, all alike.")] = None,
    power_kw: Annotated[float, typer.Option(help="Of each connector.")] = 22.0,
    standard: Annotated[ConnectorStandard, typer.Option()] = ConnectorStandard.TYPE_2,
    place: Annotated[str, typer.Option(help="LATITUDE,LONGITUDE")] = "",
    site: Annotated[str, typer.Option(help="Site id.")] = "",
    operator: str = "own",
    network: str = "own",
    profile: Annotated[int | None, typer.Option(min=0, max=3, help="OCPP security profile.")] = None,
    pin: Annotated[str | None, typer.Option(help="ocpp1.6, ocpp2.0.1 or ocpp2.1, and no other.")] = None,
    phases: Annotated[int | None, typer.Option(min=1, max=3, help="Of alternating current.")] = None,
    failsafe_kw: Annotated[float | None, typer.Option(help="For the station, when nobody says more.")] = None,
    allow_downgrade: Annotated[bool, typer.Option(help="The security profile may be lowered.")] = False,
    new_password: Annotated[bool, typer.Option(help="Replace a lost password.")] = False,
    as_json: AsJson = False,
) -> None:
    """Commission a station, or change it. A new one's password is shown once."""
    with friendly():
        body: Json = read_body(file) if file else {}
        given = {
            "security_profile": profile,
            "protocol_pin": pin,
            "phases": phases,
            "failsafe_kw": failsafe_kw,
            "allow_downgrade": allow_downgrade or None,
            "replace_password": new_password or None,
        }
        body |= {name: value for name, value in given.items() if value is not None}
        if connectors is not None:
            like = {
                "standard": str(standard),
                "power_kw": power_kw,
                "place": place_of(place),
                "site_id": site or station_id,
                "operator": operator,
                "network": network,
            }
            body["connectors"] = [{"number": number, **like} for number in range(1, connectors + 1)]
        written = api_of(context).ask("PUT", _at(station_id), body)
    if as_json:
        return _print_json(written)
    out.print(f"[bold]{escape(station_id)}[/] {'is new' if written['created'] else 'is changed'}.")
    out.print(_connector_table(written["connectors"]))
    if written["credentials"]:
        shown = written["credentials"]
        out.print("\nTell the station, now: this is shown once.")
        for name, text in (
            ("address", f"ws(s)://<your gateway>/ocpp/{quote(station_id, safe='')}"),
            ("user", shown["username"]),
            ("password", shown["password"]),
            ("hex (1.6)", shown["password_hex"]),
        ):
            out.print(f"  {name:10} {escape(text)}", highlight=False, soft_wrap=True)
    if written["reconnect_needed"]:
        out.print("It is connected, and takes the change at its next connection (send Reset to hasten it).")


@app.command("list")
def list_stations(context: typer.Context, as_json: AsJson = False) -> None:
    """All stations."""
    found: list[Json] = []
    with friendly():
        after: str | None = None
        while True:
            page = api_of(context).ask("GET", "/stations", params={"after": after} if after else None)
            found += page["data"]
            after = page["next_after"]
            if after is None:
                break
    if as_json:
        return _print_json({"data": found})
    table = _table("station", "line", "version", "model", "firmware", "profile", "last seen")
    for one in found:
        identity, settings = one["identity"], one["settings"]
        table.add_row(
            escape(settings["station_id"]),
            "[green]connected[/]" if one["connected"] else "[dim]away[/]",
            one["protocol_version"],
            escape(f"{identity['vendor']} {identity['model']}".strip()),
            escape(identity["firmware_version"]),
            str(settings["security_profile"]),
            _time(one["seen_at"]),
        )
    out.print(table)


@app.command()
def show(context: typer.Context, station_id: Station, as_json: AsJson = False) -> None:
    """One station, its connectors, what charges there, and its limits."""
    with friendly():
        detail = api_of(context).ask("GET", _at(station_id))
        limits = api_of(context).ask("GET", f"{_at(station_id)}/limits")["data"]
        past = api_of(context).ask("GET", f"{_at(station_id)}/transactions", params={"limit": 5})["data"]
    if as_json:
        return _print_json({**detail, "limits": limits, "transactions": past})
    station, settings = detail["station"], detail["station"]["settings"]
    line = f"connected to {station['gateway']}" if station["connected"] else "away"
    identity = " ".join(str(word) for word in station["identity"].values() if word)
    out.print(f"[bold]{escape(station_id)}[/]  {line}  {station['protocol_version']}  {escape(identity)}")
    said = {name: value for name, value in settings.items() if name not in ("station_id", "traits")}
    out.print("  ".join(f"{name}={value}" for name, value in said.items()), highlight=False)
    out.print(_connector_table(detail["connectors"]))
    if past:
        table = _table("transaction", "connector", "started", "ended", "kWh", "findings")
        for one in past:
            table.add_row(
                str(one["transaction_id"]),
                str(one["connector_number"]),
                _time(one["started_at"]),
                _time(one["ended_at"]) or "open",
                "" if one["energy_kwh"] is None else f"{one['energy_kwh']:.3f}",
                " ".join(one["findings"]),
            )
        out.print(table)
    if limits:
        table = _table("limit of", "purpose", "kW", "state", "seen", "since")
        for one in limits:
            table.add_row(*_limit_row(one["limit"], one["reply"]), _time(one["changed_at"]))
        out.print(table)


def _limit_row(limit: Json, reply: Json) -> list[str]:
    seen = "" if reply["read_back_kw"] is None else f"{reply['read_back_kw']:g} ({reply['read_back_by']})"
    steps = " ".join(f"{period['limit_kw']:g}" for period in limit["periods"])
    return [str(limit["connector_number"]), limit["purpose"], steps, reply["state"], seen]


def _connector_table(connectors: list[Json]) -> Table:
    table = _table("connector", "charger", "kW", "standard", "status", "fault", "site")
    for one in connectors:
        table.add_row(
            str(one["connector_number"]),
            escape(one["charger_id"]),
            f"{one['power_kw']:g}",
            one["standard"],
            one["status"],
            escape(str(cast(Json, one["health"] or {}).get("fault_code", ""))),
            escape(one["site_id"]),
        )
    return table


@app.command()
def send(
    context: typer.Context,
    station_id: Station,
    action: Annotated[str, typer.Argument(help="Reset, TriggerMessage, GetConfiguration, ...")],
    payload: Annotated[str, typer.Argument(help="JSON, in the words of the station's version.")] = "{}",
    timeout_s: Annotated[float, typer.Option("--timeout", min=1, max=300)] = 30.0,
    key: Key = "",
    as_json: AsJson = False,
) -> None:
    """Send one OCPP CALL and show the answer."""
    with friendly():
        body = {"action": action, "payload": payload_of(payload), "timeout_s": timeout_s}
        view = api_of(context).ask(
            "POST", f"{_at(station_id)}/commands", body, key=key or new_key(), timeout_s=timeout_s + _SLACK_S
        )
    _say(view, as_json)


def _say(view: Json, as_json: bool) -> None:
    """Show what came of it, and leave with its exit code."""
    reply = view["reply"]
    if as_json:
        _print_json(view)
    elif reply is None:
        err.print(f"{view['status']}: {view['command_id']}; look into `backstop chargers events`")
    else:
        words = [reply["outcome"], reply["error_code"], reply["detail"]]
        out.print(" ".join(word for word in words if word), markup=False, soft_wrap=True)
        if reply["payload"] is not None:
            out.print_json(data=reply["payload"])
        if reply["limit"] is not None:
            _say_limit(reply["limit"])
    raise typer.Exit(EXITS.get(reply["outcome"], UNCERTAIN) if reply else UNCERTAIN)


def _say_limit(reply: Json) -> None:
    if reply["state"] == "applied":
        out.print(f"applied: the station shows {reply['read_back_kw']:g} kW ({reply['read_back_by']})")
    else:
        words = [f"{reply['state']}:", reply["vendor_code"], reply["detail"]]
        out.print(" ".join(word for word in words if word), markup=False, soft_wrap=True)


@app.command()
def limit(
    context: typer.Context,
    station_id: Station,
    connector: Annotated[int, typer.Argument(min=0, help="0 is the whole station.")],
    limit_kw: Annotated[float | None, typer.Argument(min=0)] = None,
    clear: Annotated[bool, typer.Option("--clear")] = False,
    purpose: Annotated[LimitPurpose | None, typer.Option()] = None,
    session: Annotated[str | None, typer.Option(help="The transaction, for purpose transaction.")] = None,
    phases: Annotated[int | None, typer.Option(min=1, max=3)] = None,
    minutes: Annotated[int | None, typer.Option(min=1, help="How long it holds; else for good.")] = None,
    key: Key = "",
    as_json: AsJson = False,
) -> None:
    """Limit what a connector draws, and say whether it is obeyed; --clear ends a limit."""
    path, chosen = f"{_at(station_id)}/connectors/{connector}/limit", str(purpose) if purpose else None
    with friendly():
        if clear == (limit_kw is not None):
            raise Failed("give a limit in kW, or --clear", USAGE)
        said: Json = {"purpose": chosen, "session_ref": session}
        if clear:
            verb, body, params = "DELETE", None, {k: v for k, v in said.items() if v is not None}
        else:
            more = {"phases": phases, "duration_s": minutes * 60 if minutes else None}
            body = {**said, "limit_kw": limit_kw, **{k: v for k, v in more.items() if v is not None}}
            verb, params = "PUT", None
        view = api_of(context).ask(verb, path, body, params=params, key=key or new_key(), timeout_s=90)
    _say(view, as_json)


@app.command()
def events(
    context: typer.Context,
    station_id: Station,
    kind: Annotated[StationEventKind | None, typer.Option()] = None,
    limit: Annotated[int, typer.Option(min=1, max=500)] = 30,
    as_json: AsJson = False,
) -> None:
    """The station's log, the newest line last."""
    params: Json = {"limit": limit} | ({"kind": str(kind)} if kind else {})
    with friendly():
        log = api_of(context).ask("GET", f"{_at(station_id)}/events", params=params)
    if as_json:
        return _print_json(log)
    for line in reversed(cast("list[Json]", log["data"])):
        event = line["event"]
        body = " ".join(f"{name}={value}" for name, value in event["body"].items() if value not in ("", None))
        text = f"{_time(event['observed_at'])}  {event['kind']:<12} {body}"
        out.print(text, markup=False, highlight=False, soft_wrap=True)


@app.command()
def tail(
    context: typer.Context,
    station_id: Station,
    count: Annotated[int | None, typer.Option(min=1, help="End after so many frames.")] = None,
    as_json: AsJson = False,
) -> None:
    """The station's messages as they pass, until Ctrl-C. Passwords and tokens are blacked out."""
    seen = 0
    with friendly(), api_of(context).client(None) as http:
        timeout = httpx.Timeout(30.0, read=60.0)  # the API says something every ten seconds
        with http.stream("GET", f"/v1{_at(station_id)}/messages", timeout=timeout) as answer:
            check(answer)
            kind = ""
            for line in answer.iter_lines():
                field, _, text = line.partition(": ")
                if field == "event":
                    kind = text
                elif field == "data":
                    _say_frame(kind, json.loads(text), as_json)
                    seen += kind == "frame"
                    if count is not None and seen >= count:
                        return
        raise Failed("the API ended it", NOT_REACHED)


_ARROWS = {"in": "<-", "out": "->"}


def _say_frame(kind: str, body: Json, as_json: bool) -> None:
    if as_json:
        if kind == "frame":
            typer.echo(json.dumps(body, ensure_ascii=False))
    elif kind == "frame":
        arrow = _ARROWS.get(body["direction"], body["direction"])
        out.print(
            f"{body['at'][11:23]} {arrow} {body['frame']}", markup=False, highlight=False, soft_wrap=True
        )
    elif kind == "missed":
        err.print(f"{body['frames']} frames were missed")
    else:
        err.print(f"watching {body['station_id']}", markup=False)
    sys.stdout.flush()


def _time(text: str | None) -> str:
    """The day only where it is not today's (UTC)."""
    day, _, rest = (text or "").partition("T")
    return rest[:8] if day == datetime.now(UTC).date().isoformat() else f"{day} {rest[:8]}".strip()


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
