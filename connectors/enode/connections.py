"""Connections from configuration."""

from __future__ import annotations

from connectors.enode.ports import EnodeConnection


class ConfiguredConnections:
    """The configured connections. A tenant's vehicles are commanded through its first one."""

    def __init__(self, connections: list[EnodeConnection]) -> None:
        self._by_id = {connection.connection_id: connection for connection in connections}
        if len(self._by_id) != len(connections):
            raise ValueError("two telematics connections have the same id")

    async def find(self, connection_id: str) -> EnodeConnection | None:
        return self._by_id.get(connection_id)

    async def of_tenant(self, tenant_id: str) -> EnodeConnection | None:
        return next((c for c in self._by_id.values() if c.tenant_id == tenant_id), None)

    async def all(self) -> list[EnodeConnection]:
        return list(self._by_id.values())
