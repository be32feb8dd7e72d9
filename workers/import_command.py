"""`backstop import`: files into the store; what cannot be read goes to quarantine with its reason."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table

from connectors.register.chargers import read_chargers
from connectors.register.reading import Rejected, UnknownFormat
from connectors.register.vehicles import read_vehicle_models
from models.base import Message
from models.ids import TenantId
from store.database import Store, TenantUnit
from workers.settings import Settings


class ImportReport(Message):
    """`read` = `kept` + what was quarantined."""

    read: int
    kept: int
    quarantined: dict[str, int]


async def import_chargers(store: Store, tenant_id: TenantId, raw: bytes, source: str) -> ImportReport:
    """One transaction; repeatable. Raises UnknownFormat."""
    result = await asyncio.to_thread(read_chargers, raw)
    async with store.tenant(tenant_id) as unit:
        await unit.chargers.upsert(list(result.kept))
        await _set_aside(unit, source, result.rejected)
    return _report(result.read, len(result.kept), result.rejected)


async def import_vehicles(store: Store, tenant_id: TenantId, raw: bytes, source: str) -> ImportReport:
    """One transaction; repeatable. Raises UnknownFormat."""
    result = await asyncio.to_thread(read_vehicle_models, raw)
    async with store.tenant(tenant_id) as unit:
        await unit.vehicles.upsert_models(list(result.kept))
        await _set_aside(unit, source, result.rejected)
    return _report(result.read, len(result.kept), result.rejected)


async def _set_aside(unit: TenantUnit, source: str, rejected: tuple[Rejected, ...]) -> None:
    for item in rejected:
        await unit.quarantine.keep(source, item.reason, item.raw, item.detail)


def _report(read: int, kept: int, rejected: tuple[Rejected, ...]) -> ImportReport:
    return ImportReport(read=read, kept=kept, quarantined=dict(Counter(str(r.reason) for r in rejected)))


async def import_main(settings: Settings, kind: str, file: Path, tenant: str) -> int:
    """Prints what was done. 2 where the file as a whole cannot be read."""
    console = Console()
    store = Store(settings.database_url, pool_size=1, statement_s=600)
    try:
        raw = await asyncio.to_thread(file.read_bytes)
        async with store.platform() as unit:
            await unit.ensure_tenant(TenantId(tenant))
        work = import_chargers if kind == "chargers" else import_vehicles
        report = await work(store, TenantId(tenant), raw, f"import:{kind}:{file.name}")
    except (OSError, UnknownFormat) as error:
        console.print(f"[red]{file}: {error}[/red]")
        return 2
    finally:
        await store.dispose()
    table = Table(title=f"{file.name} into tenant {tenant}")
    table.add_column("")
    table.add_column("records", justify="right")
    table.add_row("read", str(report.read))
    table.add_row("kept", str(report.kept))
    for reason, number in sorted(report.quarantined.items()):
        table.add_row(f"quarantined: {reason}", str(number))
    console.print(table)
    return 0
