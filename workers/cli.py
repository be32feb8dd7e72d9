"""The `backstop` command: every process, and the few things an operator does by hand."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from api.auth import Scope
from workers import chargers_command, stops_command, versions_command
from workers.observability import configure_logging
from workers.prompt import at_the_prompt, leave
from workers.settings import Settings

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Durable charging stops for electric fleets."
)
imports = typer.Typer(no_args_is_help=True, help="Take chargers and vehicle models from files.")
keys = typer.Typer(no_args_is_help=True, help="API keys.")
partners = typer.Typer(no_args_is_help=True, help="Roaming partners.")
app.add_typer(chargers_command.app, name="chargers")
app.add_typer(stops_command.app, name="stops")
app.add_typer(versions_command.app, name="versions")
app.add_typer(imports, name="import")
app.add_typer(keys, name="keys")
app.add_typer(partners, name="partners")

Tenant = Annotated[str, typer.Option(help="The tenant's key.")]


def _serve(process: Coroutine[Any, Any, None], *, fast_loop: bool = False) -> None:
    """Run a process to its clean end, then leave at once: everything of ours is closed by then."""
    with asyncio.Runner(loop_factory=_uvloop() if fast_loop else None) as runner:
        runner.run(process)
    leave()


def _uvloop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """libuv's loop where it exists: twice the frames per core."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def _settings() -> Settings:
    settings = Settings()  # pyright: ignore[reportCallIssue]  fields come from the environment
    configure_logging(settings)
    return settings


@app.command()
def api() -> None:
    """Serve the HTTP API, and what partners and vendors call."""
    from workers.api_process import run_api

    _serve(run_api(_settings()))


@app.command()
def worker() -> None:
    """Run workflows of stops, and commands to roaming partners and vehicles."""
    from workers.stop_worker import run_stop_worker

    _serve(run_stop_worker(_settings()))


@app.command()
def planner() -> None:
    """Rank chargers."""
    from workers.planner_worker import run_planner

    _serve(run_planner(_settings()))


@app.command()
def gateway() -> None:
    """Hold the websockets of charge points (OCPP 1.6J, 2.0.1 and 2.1)."""
    from workers.gateway.process import run_gateway

    _serve(run_gateway(_settings()), fast_loop=True)


@app.command()
def migrate() -> None:
    """Bring the database to this version, and register search attributes at Temporal."""
    from workers.migration import run_migration

    _serve(run_migration(_settings()))


@app.command()
def demo(
    keep: Annotated[bool, typer.Option(help="Stay up afterwards, to look around.")] = False,
    stops: Annotated[int, typer.Option(min=1, max=400)] = 40,
    seed: Annotated[int, typer.Option(help="Same seed, same morning.")] = 7,
    chaos: Annotated[bool, typer.Option(help="Kill or freeze a process every few seconds.")] = False,
) -> None:
    """A fleet's morning on the full stack, with planned faults."""
    from workers.local_stack import demo_main

    sys.exit(asyncio.run(demo_main(keep=keep, stops=stops, seed=seed, chaos=chaos)))


@app.command()
def dev(
    state: Annotated[Path, typer.Option(help="Where state is kept between runs.")] = Path(".state/dev"),
) -> None:
    """The full stack with its twin, without the scenario; state is kept on disk."""
    from workers.local_stack import dev_main

    sys.exit(asyncio.run(dev_main(state)))


@imports.command("chargers")
def import_chargers(file: Path, tenant: Tenant = "demo") -> None:
    """Charging stations from a register's file or our own format; what cannot be read is quarantined."""
    from workers.import_command import import_main

    with at_the_prompt():
        sys.exit(asyncio.run(import_main(_settings(), "chargers", file, tenant)))


@imports.command("vehicles")
def import_vehicles(file: Path, tenant: Tenant = "demo") -> None:
    """Vehicle models with their charging curves."""
    from workers.import_command import import_main

    with at_the_prompt():
        sys.exit(asyncio.run(import_main(_settings(), "vehicles", file, tenant)))


@keys.command("create")
def create_key(
    name: str,
    scopes: Annotated[
        str, typer.Option(help=f"Comma-separated, of: {', '.join(Scope)}.")
    ] = "stops:write,stops:read,driver,chargers:read",
    tenant: Tenant = "demo",
) -> None:
    """Make an API key. It is shown once; only its hash is kept."""
    from workers.provisioning import create_api_key

    wanted = [scope.strip() for scope in scopes.split(",") if scope.strip()]
    unknown = [scope for scope in wanted if scope not in set(Scope)]
    if unknown or not wanted:
        raise typer.BadParameter(f"no such scope: {', '.join(unknown) or 'none'}", param_hint="--scopes")
    with at_the_prompt():
        plain = asyncio.run(create_api_key(_settings().database_url, tenant, name, wanted))
    Console().print(plain)


@partners.command("register")
def register_partner(
    versions_url: str,
    token_a: Annotated[str, typer.Option(envvar="BACKSTOP_OCPI_TOKEN_A", help="The token the partner gave.")],
    tenant: Tenant = "demo",
) -> None:
    """Shake hands with an OCPI 2.2.1 partner, then pull its locations."""
    from workers.partners import register_main

    with at_the_prompt():
        sys.exit(asyncio.run(register_main(_settings(), tenant, versions_url, token_a)))


if __name__ == "__main__":
    app(prog_name="backstop")
