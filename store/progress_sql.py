"""The statements of store.progress. Every fold locks its rows in one order, and then writes what it has
worked out from the locked rows: two folds of one session follow each other."""

from __future__ import annotations

FOLLOW = """
INSERT INTO session_progress AS p (attempt_id, tenant_id, stop_id, target_kwh, target_soc_percent, stall_s)
VALUES (:attempt_id, :tenant, :stop_id, :target_kwh, :target_soc_percent, :stall_s)
ON CONFLICT (attempt_id) DO UPDATE SET
    stall_s = excluded.stall_s,
    target_kwh = excluded.target_kwh,
    target_soc_percent = excluded.target_soc_percent,
    goal_number = p.goal_number + (p.target_kwh <> excluded.target_kwh
        OR p.target_soc_percent <> excluded.target_soc_percent)::int,
    -- What has flowed of another goal is no news.
    halves_told = CASE WHEN p.target_kwh = excluded.target_kwh THEN p.halves_told
        WHEN excluded.target_kwh > 0 THEN least(3, floor(4 * p.energy_kwh / excluded.target_kwh)::int)
        ELSE 0 END
WHERE p.tenant_id = :tenant AND (p.target_kwh, p.target_soc_percent, p.stall_s)
    IS DISTINCT FROM (excluded.target_kwh, excluded.target_soc_percent, excluded.stall_s)
RETURNING goal_number > 1
"""

FOLD = """
WITH told AS MATERIALIZED (
    SELECT coalesce(s.attempt_id, (
            -- The one that the vehicle is at, or was at last. Where that has ended, the words of its vehicle
            -- come late: an earlier attempt has nothing to do with them.
            SELECT last.attempt_id FROM (
                SELECT p.attempt_id, p.ended FROM session_progress AS p
                LEFT JOIN attempt AS a ON a.tenant_id = :tenant AND a.attempt_id = p.attempt_id
                WHERE p.tenant_id = :tenant AND p.stop_id = s.stop_id
                ORDER BY coalesce(a.holds_vehicle, false) DESC,
                    coalesce(a.body->>'session' = 'never_began', false), p.followed_at DESC, p.attempt_id
                LIMIT 1
            ) AS last WHERE NOT last.ended
        )) AS attempt_id,
        s.attempt_id IS NOT NULL AS by_attempt, s.kind, s.at, s.energy_kwh, s.soc_percent, s.power_kw,
        s.shows_flow
    FROM jsonb_to_recordset(CAST(:samples AS jsonb)) AS s (attempt_id text, stop_id text, kind text,
        at timestamptz, energy_kwh float8, soc_percent float8, power_kw float8, shows_flow bool)
), heard AS MATERIALIZED (
    SELECT attempt_id,
        bool_or(kind <> 'goal') AS anything,
        bool_or(kind NOT IN ('goal', 'station_online')) AS lives,
        max(energy_kwh) AS energy_kwh,
        max(at) FILTER (WHERE energy_kwh IS NOT NULL) AS energy_at,
        max(at) FILTER (WHERE soc_percent IS NOT NULL OR power_kw IS NOT NULL) AS sampled_at,
        (array_agg(soc_percent ORDER BY at DESC) FILTER (WHERE soc_percent IS NOT NULL))[1] AS soc_percent,
        (array_agg(power_kw ORDER BY at DESC) FILTER (WHERE power_kw IS NOT NULL))[1] AS power_kw,
        max(at) FILTER (WHERE shows_flow) AS power_flow_at,
        max(at) FILTER (WHERE kind = 'energy_flowing' AND by_attempt) AS own_flow_at,
        max(at) FILTER (WHERE kind LIKE 'suspended%') AS suspended_at,
        bool_or(kind = 'session_started') AS starts,
        max(energy_kwh) FILTER (WHERE kind = 'session_ended') AS end_kwh,
        bool_or(kind IN ('session_ended', 'session_invalid', 'charge_record')) AS ends
    FROM told WHERE attempt_id IS NOT NULL GROUP BY attempt_id
), held AS MATERIALIZED (
    SELECT p AS was, h.*,
        -- A pause from before the newest sample is history.
        h.suspended_at IS NOT NULL AND h.suspended_at IS DISTINCT FROM p.suspended_at
            AND h.suspended_at >= coalesce(p.suspended_at, p.sampled_at, h.suspended_at) AS pauses,
        coalesce(h.energy_at <= p.suspended_at, false) AS from_before_pause,
        greatest(p.suspended_at, h.suspended_at) AS last_pause_at,
        p.ended OR h.ends AS ended_now,
        greatest(p.energy_kwh, coalesce(h.energy_kwh, 0)) AS energy_now,
        CASE WHEN h.sampled_at >= coalesce(p.sampled_at, h.sampled_at)
            THEN coalesce(h.soc_percent, p.soc_percent) ELSE coalesce(p.soc_percent, h.soc_percent) END
            AS soc_now,
        CASE WHEN h.sampled_at >= coalesce(p.sampled_at, h.sampled_at)
            THEN coalesce(h.power_kw, p.power_kw) ELSE coalesce(p.power_kw, h.power_kw) END AS power_now
    FROM (SELECT * FROM heard ORDER BY attempt_id) AS h
    -- One by one, by its key: no plan goes through a tenant's whole table for a few sessions.
    CROSS JOIN LATERAL (
        SELECT * FROM session_progress AS p
        WHERE p.attempt_id = h.attempt_id AND p.tenant_id = :tenant FOR UPDATE
    ) AS p
), flow AS (
    SELECT h.*,
        -- A paused vehicle may still take a little, for its heater say.
        coalesce(energy_kwh > (was).progress_kwh
            + CAST(:flows_kwh AS float8) * CASE WHEN (was).suspended_at IS NULL THEN 1 ELSE 5 END, false)
            AND NOT from_before_pause AS energy_grew,
        coalesce(power_flow_at > last_pause_at, power_flow_at IS NOT NULL) AS power_flows,
        coalesce(soc_now >= (was).progress_soc_percent + 1, false) AS soc_grew,
        coalesce(own_flow_at >= coalesce(greatest(last_pause_at, (was).sampled_at), own_flow_at), false)
            AS own_flow,
        coalesce((was).ended AND energy_kwh > (was).energy_kwh + CAST(:flows_kwh AS float8), false)
            AS tells_late
    FROM held AS h
), news AS (
    SELECT f.*,
        CASE WHEN own_flow OR NOT pauses AND (energy_grew OR power_flows) THEN NULL
            WHEN pauses THEN suspended_at ELSE (was).suspended_at END AS paused_at,
        (energy_grew OR power_flows) AND NOT (was).flowing AND NOT own_flow AND NOT ended_now
            -- The first flow of a session whose start was told is no turn: its stop knows that it runs.
            AND NOT (((was).start_told OR starts) AND (was).flows_told = 0 AND (was).suspended_at IS NULL
                AND (was).silent_told_at IS NULL) AS tells_flow,
        (was).goal_told < (was).goal_number AND NOT ended_now
            AND ((was).target_kwh > 0 AND energy_now >= (was).target_kwh
                -- What the vehicle measures before anything flows is not reached by this session.
                OR energy_now > 0 AND (was).target_soc_percent > 0
                    AND coalesce(soc_now >= (was).target_soc_percent, false))
            AS tells_target,
        CASE WHEN (was).target_kwh > 0 THEN least(1, floor(2 * energy_now / (was).target_kwh)::int)
            ELSE 0 END AS half
    FROM flow AS f
), turned AS MATERIALIZED (
    SELECT n.*,
        half > (was).halves_told AND (was).goal_told < (was).goal_number AND NOT tells_target
            -- A short charge needs no word half-way: each costs the history of its stop four events.
            AND coalesce((was).began_at < now() - interval '30 minutes', false)
            AND NOT ended_now AS tells_half,
        -- An end without a figure, or with less than the meters have shown: then theirs is told.
        ends AND NOT (was).ended AND energy_now > coalesce(end_kwh + 0.5, 0) AS tells_end,
        (was).flows_told + tells_flow::int AS flows_now,
        (was).late_told + tells_late::int AS late_now
    FROM news AS n
), written AS (
    UPDATE session_progress AS p SET
        energy_kwh = t.energy_now, soc_percent = t.soc_now, power_kw = t.power_now,
        sampled_at = greatest(p.sampled_at, t.energy_at, t.sampled_at),
        heard_at = CASE WHEN t.anything THEN now() ELSE p.heard_at END,
        began_at = coalesce(p.began_at, CASE WHEN t.lives THEN now() END),
        progress_at = CASE WHEN t.energy_grew OR t.power_flows OR t.soc_grew THEN now()
            ELSE coalesce(p.progress_at, CASE WHEN t.lives THEN now() END) END,
        progress_kwh = CASE WHEN t.energy_grew OR t.from_before_pause THEN t.energy_now
            ELSE p.progress_kwh END,
        progress_soc_percent = CASE WHEN t.soc_grew OR p.progress_soc_percent IS NULL THEN t.soc_now
            ELSE p.progress_soc_percent END,
        suspended_at = t.paused_at,
        start_told = p.start_told OR t.starts,
        flowing = t.paused_at IS NULL AND (p.flowing OR t.energy_grew OR t.power_flows OR t.own_flow),
        ended = t.ended_now,
        given_up = p.given_up AND NOT (t.energy_grew OR t.power_flows OR t.own_flow),
        flows_told = t.flows_now, late_told = t.late_now, halves_told = p.halves_told + t.tells_half::int,
        goal_told = CASE WHEN t.tells_target THEN p.goal_number ELSE p.goal_told END
    FROM turned AS t WHERE p.tenant_id = :tenant AND p.attempt_id = t.attempt_id
)
SELECT t.attempt_id, (t.was).stop_id AS stop_id, (t.was).target_kwh AS target_kwh,
    (t.was).target_soc_percent AS target_soc_percent, (t.was).goal_number AS goal_number,
    (t.was).progress_kwh AS flowed_from_kwh,
    t.energy_now AS energy_kwh, t.soc_now AS soc_percent, t.power_now AS power_kw,
    t.tells_flow, t.tells_half, t.tells_target, t.tells_late, t.tells_end,
    t.flows_now AS flows_told, t.late_now AS late_told,
    (t.was).halves_told + t.tells_half::int AS halves_told,
    a.charger_id, a.session_ref, a.body->>'protocol' AS protocol
FROM turned AS t LEFT JOIN attempt AS a ON a.tenant_id = :tenant AND a.attempt_id = t.attempt_id
WHERE t.tells_flow OR t.tells_half OR t.tells_target OR t.tells_late OR t.tells_end
ORDER BY t.attempt_id
"""

_IS_SILENT = """
    p.began_at IS NOT NULL AND NOT p.ended AND NOT p.given_up
    AND greatest(CASE WHEN p.suspended_at IS NULL THEN p.progress_at ELSE p.heard_at END, p.silent_told_at,
        now() - CAST(:listened_s AS float8) * interval '1 second')
        + p.stall_s * interval '1 second' < now()
"""

DUE_TENANTS = f"""
SELECT DISTINCT p.tenant_id FROM session_progress AS p WHERE {_IS_SILENT} ORDER BY p.tenant_id
"""  # noqa: S608  our own words

SILENCES = f"""
WITH due AS MATERIALIZED (
    SELECT p.attempt_id FROM session_progress AS p WHERE p.tenant_id = :tenant AND {_IS_SILENT}
    ORDER BY p.attempt_id LIMIT :limit FOR UPDATE SKIP LOCKED
), judged AS (
    SELECT due.attempt_id, a.charger_id, a.session_ref, a.body->>'protocol' AS protocol,
        coalesce(a.body->>'session' IN ('ended', 'never_began', 'unknown'), false) AS is_booked
    FROM due LEFT JOIN attempt AS a ON a.tenant_id = :tenant AND a.attempt_id = due.attempt_id
)
UPDATE session_progress AS p SET silent_told_at = now(), flowing = false, given_up = j.is_booked,
    silences_told = p.silences_told + (NOT j.is_booked)::int
FROM judged AS j WHERE p.tenant_id = :tenant AND p.attempt_id = j.attempt_id
RETURNING p.attempt_id, p.stop_id, p.given_up, p.silences_told, p.silent_told_at, p.heard_at, p.energy_kwh,
    p.soc_percent, j.charger_id, j.session_ref, j.protocol
"""  # noqa: S608  our own words

LIVE = """
SELECT attempt_id, energy_kwh, soc_percent, power_kw, heard_at, progress_at FROM session_progress
WHERE tenant_id = :tenant AND attempt_id = ANY(CAST(:attempt_ids AS text[])) AND heard_at IS NOT NULL
"""
