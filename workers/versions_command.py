"""`backstop versions`: which code new stops start on."""

from __future__ import annotations

import asyncio

import typer
from rich.console import Console
from temporalio.common import WorkerDeploymentVersion

from workers.prompt import at_the_prompt, leave, reach_temporal
from workers.settings import Settings
from workers.versions import code_build_id, current_version, set_current

app = typer.Typer(no_args_is_help=True, help="Worker versions: which code new stops start on.")


@app.command("show")
def show() -> None:
    """The version of this code, and the one that new stops start on."""

    async def ask() -> str:
        settings = Settings()  # pyright: ignore[reportCallIssue]
        client = await reach_temporal(settings, "versions")
        return await current_version(client, settings.deployment_name)

    settings = Settings()  # pyright: ignore[reportCallIssue]
    console = Console()
    console.print(f"this code     {settings.build_id or code_build_id()}")
    with at_the_prompt():
        console.print(f"new stops on  {asyncio.run(ask()) or 'none yet'}")
    leave()


@app.command("set-current")
def make_current(build_id: str = typer.Argument("", help="Default: this code's own.")) -> None:
    """New stops start on this version from now on; running ones stay on theirs."""

    async def tell() -> str:
        settings = Settings()  # pyright: ignore[reportCallIssue]
        client = await reach_temporal(settings, "versions")
        wanted = build_id or settings.build_id or code_build_id()
        await set_current(client, WorkerDeploymentVersion(settings.deployment_name, wanted))
        return wanted

    with at_the_prompt():
        Console().print(f"new stops start on {asyncio.run(tell())}")
    leave()
