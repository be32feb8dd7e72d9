"""Row-level security: the second lock on every tenant's rows.

`backstop_app` sees the rows of the tenant set for the transaction, and nothing where none is set.
`backstop_platform` sees the few tables that cross tenants by their nature.
"""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"

TENANT_TABLES = (
    "stop",
    "stop_event",
    "outbox",
    "attempt",
    "decision",
    "command",
    "evidence",
    "charger",
    "vehicle_model",
    "policy",
    "ocpp_transaction",
    "partner_connection",
    "partner_object",
    "quarantine",
    "tenant",
    "api_key",
    "station",
    "route",
)
# What the platform role may do, and on which tables: identity, routes, and delivery of evidence.
PLATFORM_GRANTS = {
    "tenant": "SELECT, INSERT",
    "api_key": "SELECT, INSERT, DELETE",
    "station": "SELECT, INSERT, UPDATE",
    "route": "SELECT, INSERT, UPDATE, DELETE",
    "partner_connection": "SELECT",
    "evidence": "SELECT, UPDATE",
    "stop": "SELECT",
}
_ROLES = ("backstop_app", "backstop_platform")


def upgrade() -> None:
    for role in _ROLES:
        # Roles belong to the cluster, not to the database: another database may have made them.
        op.execute(
            f"""
            DO $$ BEGIN
                CREATE ROLE {role} NOLOGIN NOBYPASSRLS;
            EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
            END $$
            """
        )
        op.execute(
            f"""
            DO $$ BEGIN
                -- Since version 16 a role's creator is a member, and yet may not become it unasked.
                IF NOT pg_has_role(current_user, '{role}', CASE
                    WHEN current_setting('server_version_num')::int < 160000 THEN 'MEMBER' ELSE 'SET' END)
                THEN
                    EXECUTE format('GRANT {role} TO %I', current_user);
                END IF;
            END $$
            """
        )
        op.execute(
            f"""DO $$ BEGIN EXECUTE format('GRANT USAGE ON SCHEMA %I TO {role}', current_schema()); END $$"""
        )
    for table in TENANT_TABLES:
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(
            f"""
            CREATE POLICY tenant_rows ON {table} TO backstop_app
            USING (tenant_id = current_setting('app.tenant_id', true))
            WITH CHECK (tenant_id = current_setting('app.tenant_id', true))
            """
        )
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO backstop_app")
    # The log is append only, for the application too.
    op.execute("REVOKE UPDATE, DELETE ON stop_event FROM backstop_app")
    for table, rights in PLATFORM_GRANTS.items():
        op.execute(
            f"CREATE POLICY platform_rows ON {table} TO backstop_platform USING (true) WITH CHECK (true)"
        )
        op.execute(f"GRANT {rights} ON {table} TO backstop_platform")


def downgrade() -> None:
    for table in PLATFORM_GRANTS:
        op.execute(f"DROP POLICY platform_rows ON {table}")
        op.execute(f"REVOKE ALL ON {table} FROM backstop_platform")
    for table in TENANT_TABLES:
        op.execute(f"DROP POLICY tenant_rows ON {table}")
        op.execute(f"REVOKE ALL ON {table} FROM backstop_app")
        op.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
