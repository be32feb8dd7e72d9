"""The reason catalogue is complete, closed, and can be read backwards from any partner's word."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from models import reason_catalogue as catalogue
from models.reason_codes import NextStep, Phase, ReasonCode

ROOT = Path(__file__).resolve().parents[2]

OCPP16_ERRORS = """
    ConnectorLockFailure EVCommunicationError GroundFailure HighTemperature InternalError LocalListConflict
    OtherError OverCurrentFailure OverVoltage PowerMeterFailure PowerSwitchFailure ReaderFailure ResetFailure
    UnderVoltage WeakSignal
"""
OCPP16_STOPS = """
    EmergencyStop EVDisconnected HardReset Local PowerLoss Reboot Remote SoftReset UnlockCommand DeAuthorized
"""
OCPP201_STOPS = """
    DeAuthorized EmergencyStop EnergyLimitReached EVDisconnected GroundFault ImmediateReset Local
    LocalOutOfCredit MasterPass OvercurrentFault PowerLoss PowerQuality Reboot Remote SOCLimitReached
    StoppedByEV TimeLimitReached Timeout
"""
OCPI_RESULTS = """
    REJECTED FAILED TIMEOUT EVSE_OCCUPIED EVSE_INOPERATIVE NOT_SUPPORTED CANCELED_RESERVATION
    UNKNOWN_RESERVATION
"""


@pytest.mark.parametrize("code", list(ReasonCode))
def test_every_code_has_a_complete_row(code: ReasonCode) -> None:
    row = catalogue.entry(code)
    assert row.code is code
    assert (row.phase, row.cause) == (code.phase, code.cause)
    assert row.title
    assert not row.title.endswith(".")
    for advice in (row.driver_advice, row.operator_advice):
        assert advice.endswith((".", "?"))
        assert len(advice) < 160


def test_the_catalogue_holds_every_code_once_and_in_order() -> None:
    assert list(catalogue.CATALOGUE) == list(ReasonCode)


def test_every_mrec_code_and_name_leads_to_one_of_ours() -> None:
    assert len(catalogue.MREC) == 26
    for code, (name, parties) in catalogue.MREC.items():
        ours = catalogue.from_mrec(code)
        assert ours is not None
        assert catalogue.from_mrec(name) is ours
        assert catalogue.from_mrec(code.lower()) is ours
        assert parties


@pytest.mark.parametrize("word", OCPP16_ERRORS.split())
def test_every_ocpp16_error_is_mapped(word: str) -> None:
    assert catalogue.from_ocpp16_error(word) is not None


@pytest.mark.parametrize("word", OCPP16_STOPS.split())
def test_every_ocpp16_stop_reason_is_mapped(word: str) -> None:
    assert catalogue.from_ocpp16_stop_reason(word) is not None


@pytest.mark.parametrize("word", OCPP201_STOPS.split())
def test_every_ocpp201_stopped_reason_is_mapped(word: str) -> None:
    assert catalogue.from_ocpp201_stopped_reason(word) is not None


@pytest.mark.parametrize("word", OCPI_RESULTS.split())
def test_every_ocpi_command_result_is_mapped(word: str) -> None:
    assert catalogue.from_ocpi_command_result(word) is not None


def test_the_phase_tells_apart_what_a_partner_does_not() -> None:
    assert catalogue.from_mrec("CX002") is ReasonCode.CONFIRM_EVSE_FAULT
    assert catalogue.from_mrec("CX002", Phase.SUSTAIN) is ReasonCode.SUSTAIN_EVSE_FAULT
    assert catalogue.from_ocpp16_error("WeakSignal", Phase.SUSTAIN) is ReasonCode.SUSTAIN_CONTACT_LOST
    # A phase that has no row of its own falls back to the earliest one.
    assert catalogue.from_mrec("CX002", Phase.SETTLE) is ReasonCode.CONFIRM_EVSE_FAULT


def test_an_absent_stop_reason_means_local() -> None:
    assert catalogue.from_ocpp16_stop_reason(None) is catalogue.from_ocpp16_stop_reason("Local")
    assert catalogue.from_ocpp201_stopped_reason(None) is catalogue.from_ocpp201_stopped_reason("Local")


@pytest.mark.parametrize("word", ["", "Nonsense", "NoError", "ACCEPTED", "Other", "CX999", "\x00", " "])
def test_words_that_say_nothing_give_none(word: str) -> None:
    assert catalogue.from_mrec(word) is None
    assert catalogue.from_ocpp16_error(word) is None
    assert catalogue.from_ocpi_command_result(word) is None
    assert catalogue.from_ocpi_command_response(word) is None
    assert catalogue.from_ocpp201_reason_code(word) is None
    if word:
        assert catalogue.from_ocpp16_stop_reason(word) is None
        assert catalogue.from_ocpp201_stopped_reason(word) is None


def test_tokens_that_are_refused_are_told_apart() -> None:
    assert catalogue.from_ocpp16_id_tag_status("Invalid") is ReasonCode.AUTHORISE_TOKEN_UNKNOWN
    assert catalogue.from_ocpp16_id_tag_status("ConcurrentTx") is ReasonCode.AUTHORISE_CONCURRENT
    assert catalogue.from_ocpp201_id_token_status("NoCredit") is ReasonCode.AUTHORISE_DENIED
    assert catalogue.from_ocpp16_id_tag_status("Accepted") is None


def test_what_needs_a_human_says_so() -> None:
    for code in (ReasonCode.STOP_ATTEMPTS_EXHAUSTED, ReasonCode.PLAN_POLICY_FORBIDS_ALL):
        assert catalogue.entry(code).next_step is NextStep.HUMAN


def test_the_catalogue_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        catalogue.CATALOGUE[ReasonCode.START_REJECTED] = catalogue.entry(ReasonCode.START_TIMEOUT)  # type: ignore[index]


def test_the_page_about_reason_codes_is_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location("reason_codes_doc", ROOT / "tools" / "reason_codes_doc.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    written = (ROOT / "docs" / "reason-codes.md").read_text(encoding="utf-8")
    assert written == module.document(), "run: python tools/reason_codes_doc.py"
