"""The simulated roaming partner: an operator of charge points under OCPI 2.2.1, in its own process.

    python -m simulators.roaming_partner --config FILE --port N

Beside OCPI it serves the twin's control API (simulators/twin.py) and GET /twin/pending. See
docs/simulators-roaming.md.
"""

from __future__ import annotations

import argparse
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from simulators.roaming.config import RoamingConfig
from simulators.roaming.partner import Partner
from simulators.roaming.routes import ocpi_router, twin_router


def build_app(config: RoamingConfig, base_url: str) -> FastAPI:
    """The partner as an ASGI application; its state is `app.state.partner` once it runs."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        partner = Partner(config, base_url)
        app.state.partner = partner
        async with partner.running():
            yield

    app = FastAPI(title="Simulated roaming partner", lifespan=lifespan)
    app.include_router(ocpi_router())
    app.include_router(twin_router())
    return app


def main() -> None:
    """Runs the partner on the loopback interface until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(description="Simulated roaming partner (OCPI 2.2.1, CPO)")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    config = RoamingConfig.model_validate_json(options.config.read_bytes())
    uvicorn.run(
        build_app(config, f"http://{options.host}:{options.port}"),
        host=options.host,
        port=options.port,
        log_level="warning",
        timeout_graceful_shutdown=2,
    )


if __name__ == "__main__":
    main()
