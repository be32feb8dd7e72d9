"""The API process: /v1, and what partners (OCPI) and vendors (webhooks) call."""

from __future__ import annotations

import asyncio

import uvicorn

from api.app import create_app
from api.settings import ApiSettings
from workers.bootstrap import open_house, stop_signal
from workers.observability import instrument_http
from workers.partners import open_roaming, open_telematics
from workers.settings import Settings


async def run_api(settings: Settings) -> None:
    """Serve until SIGTERM; requests in flight are answered first."""
    stopped = stop_signal()
    async with (
        open_house(settings, "api") as house,
        open_roaming(house) as roaming,
        open_telematics(house) as telematics,
    ):
        app = create_app(
            store=house.store,
            client=house.client,
            extra_routers=[roaming.receiver, telematics.webhook],
            settings=ApiSettings(cursor_secret=settings.cursor_secret),
        )
        instrument_http(settings, "api", app)
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                host=settings.api_host,
                port=settings.api_port,
                log_config=None,
                access_log=False,
                timeout_graceful_shutdown=int(settings.drain_s),
            )
        )
        server.install_signal_handlers = lambda: None  # pyright: ignore[reportAttributeAccessIssue]
        serving = asyncio.create_task(server.serve())
        resync = asyncio.create_task(telematics.resync.run(stopped))
        waiting = asyncio.create_task(stopped.wait())
        await asyncio.wait([serving, waiting], return_when=asyncio.FIRST_COMPLETED)
        stopped.set()
        server.should_exit = True
        await serving
        waiting.cancel()
        await asyncio.gather(resync, return_exceptions=True)
