"""Connectors: one machine for the words of both generations, and faults decoded by (vendor, code)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.ocpp.truth.connector_state import FLAP_WINDOW, ConnectorState, ConnectorTrack
from connectors.ocpp.truth.faults import MREC_VENDOR, fault_reason, known_fault, mrec_words, plain_fault
from models.charger import ConnectorStatus
from models.reason_catalogue import MREC, from_mrec, from_ocpp16_error
from models.reason_codes import Phase, ReasonCode
from tests.ocpp.connector_words import WORDS_2X, WORDS_16, C, S

NOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
CHARGING_STATES = {
    "EVConnected": S.OCCUPIED,
    "Charging": S.CHARGING,
    "SuspendedEV": S.PAUSED_BY_VEHICLE,
    "SuspendedEVSE": S.PAUSED_BY_STATION,
}


def t(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def reports_in(words: dict[str, Any]) -> st.SearchStrategy[list[tuple[str, int]]]:
    """(word, second) in the words of one generation."""
    return st.lists(st.tuples(st.sampled_from(sorted(words)), st.integers(0, 50)), max_size=30)


def track(*words: str) -> ConnectorTrack:
    """One report a second."""
    made = ConnectorTrack()
    for second, word in enumerate(words):
        assert made.report(word, t(second), "code")
    return made


class TestMachine:
    @pytest.mark.parametrize("words", [WORDS_16, WORDS_2X])
    def test_every_word_from_every_state(
        self, words: dict[str, tuple[ConnectorState, ConnectorStatus]]
    ) -> None:
        """MinimumStatusDuration may hide any word: each may follow each."""
        for before in words:
            for word, (state, status) in words.items():
                made = track(before, word)
                assert (made.state, made.status) == (state, status)
                assert made.since == (t(0) if before == word else t(1))
                assert made.at == t(1)
                assert made.fault_code == ("code" if status is C.FAULTED else "")

    def test_before_the_first_report_nothing_is_known(self) -> None:
        made = ConnectorTrack()
        assert (made.state, made.status, made.since, made.at) == (S.UNKNOWN, C.UNKNOWN, None, None)

    def test_a_word_of_no_version_changes_nothing(self) -> None:
        made = track("Charging")
        assert not made.report("OnFire", t(9))
        assert (made.state, made.at, made.changes_last_hour(t(9))) == (S.CHARGING, t(0), 0)

    def test_an_old_report_is_history(self) -> None:
        made = track("Available", "Preparing")
        assert not made.report("Faulted", t(0.5), "late")
        assert not made.charging_state("Charging", t(0.5))
        assert (made.state, made.fault_code, made.at) == (S.OCCUPIED, "", t(1))
        assert made.report("Charging", t(1)), "of one moment, the later one counts"
        assert made.state is S.CHARGING

    @pytest.mark.parametrize(("word", "state"), CHARGING_STATES.items())
    def test_occupied_does_not_hide_what_the_transaction_said(self, word: str, state: ConnectorState) -> None:
        made = track("Available", "Occupied")
        assert made.charging_state(word, t(2))
        assert made.report("Occupied", t(3))
        assert (made.state, made.status) == (state, C.OCCUPIED)
        made.report("Available", t(4))
        made.report("Occupied", t(5))
        assert made.state is S.OCCUPIED, "the next vehicle"

    def test_a_transaction_of_an_unreported_connector(self) -> None:
        made = ConnectorTrack()
        assert made.charging_state("Charging", t(0))
        assert (made.state, made.since) == (S.CHARGING, t(0))
        assert not made.charging_state("Idle", t(1)), "idle says nothing of the plug"

    @pytest.mark.parametrize("out", ["Faulted", "Unavailable"])
    def test_a_fault_stands_until_a_status_ends_it(self, out: str) -> None:
        made = track("Occupied", out)
        for word in CHARGING_STATES:
            assert not made.charging_state(word, t(9))
        assert made.status is C.FAULTED
        made.report("Occupied", t(10))
        assert made.charging_state("Charging", t(11))
        assert made.state is S.CHARGING

    @given(st.sampled_from([WORDS_16, WORDS_2X]).flatmap(reports_in))
    def test_arrival_order_does_not_matter_to_where_it_ends(self, told: list[tuple[str, int]]) -> None:
        """With one report a moment, the newest decides, in whatever order they come."""
        newest = {second: word for word, second in told}
        in_order, as_told = ConnectorTrack(), ConnectorTrack()
        for second in sorted(newest):
            in_order.report(newest[second], t(second))
        for second in {second: None for _, second in told}:
            as_told.report(newest[second], t(second))
        assert (as_told.state, as_told.at) == (in_order.state, in_order.at)


class TestFlapping:
    def test_turns_between_usable_and_not_are_counted(self) -> None:
        made = track(*["Available", "Faulted"] * 4)
        assert made.changes_last_hour(t(8)) == 7
        assert track(*["Available", "Unavailable"] * 4).changes_last_hour(t(8)) == 7

    @pytest.mark.parametrize(
        "words",
        [
            ("Available", "Preparing", "Charging", "SuspendedEV", "Finishing", "Available", "Reserved"),
            ("Faulted", "Unavailable", "Faulted", "Faulted"),
            ("Faulted",),
        ],
    )
    def test_a_session_a_repeat_and_a_first_report_are_no_turns(self, words: tuple[str, ...]) -> None:
        assert track(*words).changes_last_hour(t(99)) == 0

    def test_they_are_forgotten_after_an_hour(self) -> None:
        made = ConnectorTrack()
        for minute in range(90):
            made.report("Faulted" if minute % 2 else "Available", t(60 * minute))
        last = t(60 * 89)
        assert made.changes_last_hour(last) == 61
        assert made.changes_last_hour(last + FLAP_WINDOW / 2) == 31
        assert made.changes_last_hour(last + FLAP_WINDOW + timedelta(seconds=1)) == 0

    def test_reports_that_are_history_do_not_count(self) -> None:
        made = track("Available", "Faulted")
        for _ in range(9):
            made.report("Available", t(0))
        assert made.changes_last_hour(t(2)) == 1


class TestFaultCodes:
    @pytest.mark.parametrize("phase", [Phase.CONFIRM, Phase.SUSTAIN])
    @pytest.mark.parametrize("vendor", [MREC_VENDOR, "com.evgo.mrec", ""])
    def test_all_26_of_chargex(self, vendor: str, phase: Phase) -> None:
        assert len(MREC) == 26
        for code in MREC:
            reason = from_mrec(code, phase)
            assert reason is not None
            assert fault_reason("OtherError", vendor, code, phase) is reason
            assert known_fault(mrec_words(code), phase) is reason

    @pytest.mark.parametrize("codes", ["CX008,CX002", " CX008 , CX002", "F042,CX008", "A001, ,CX008,CX015"])
    def test_the_first_known_code_of_a_list(self, codes: str) -> None:
        expected = from_mrec("CX008", Phase.SUSTAIN)
        assert expected is not plain_fault(Phase.SUSTAIN)
        assert fault_reason("OtherError", "com.evgo.mrec", codes, Phase.SUSTAIN) is expected
        assert known_fault(mrec_words(codes), Phase.SUSTAIN) is expected

    @pytest.mark.parametrize("vendor", ["com.example", "chargex", "COM.EVGO.MREC.OTHER"])
    def test_another_vendors_codes_decide_nothing(self, vendor: str) -> None:
        for code in ("CX008", "EmergencyStop", "CX015"):
            assert fault_reason("OtherError", vendor, code, Phase.SUSTAIN) is plain_fault(Phase.SUSTAIN)
            lock = fault_reason("ConnectorLockFailure", vendor, code, Phase.CONFIRM)
            assert lock is from_ocpp16_error("ConnectorLockFailure", Phase.CONFIRM)

    def test_the_standard_code_where_there_is_no_other(self) -> None:
        for code in ("NoError", "OtherError", "SomethingNew", ""):
            assert fault_reason(code, "", "", Phase.CONFIRM) is ReasonCode.CONFIRM_EVSE_FAULT
        assert fault_reason("EVCommunicationError", MREC_VENDOR, "X9", Phase.SUSTAIN) is from_ocpp16_error(
            "EVCommunicationError", Phase.SUSTAIN
        )
        assert known_fault("ocpp2.0.1:Faulted", Phase.SUSTAIN) is ReasonCode.SUSTAIN_EVSE_FAULT
