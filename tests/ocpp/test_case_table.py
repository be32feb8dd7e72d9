"""docs/ocpp-cases.md, docs/ocpp-defects.md and the tests they name say the same."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_PAGE = (_ROOT / "docs" / "ocpp-cases.md").read_text()
_ROW = re.compile(r"^\| (TC_\w+_CSMS) \| [^|]+ \| (test|open) \| ([^|]+) \|$", re.MULTILINE)
_SELECTOR = re.compile(r"`(tests/ocpp/\w+\.py)::(test_\w+)(?:\[(\w+)\])?`")
_SECTIONS = re.split(r"^## \d\. ", _PAGE, flags=re.MULTILINE)
_NAMED = re.compile(r'"(TC_\w+_CSMS)"')
_FUNCTION = re.compile(r"def test_(tc_(?:[a-p]_)?\d+(?:_\d)?_csms)_")


def test_every_proof_is_a_test() -> None:
    for case, status, proof in _ROW.findall(_PAGE):
        if status == "open":
            assert len(proof) > 10, f"{case}: why is it open?"
            continue
        found = _SELECTOR.fullmatch(proof.strip())
        assert found is not None, case
        source = (_ROOT / found[1]).read_text()
        assert f"def {found[2]}(" in source, proof
        assert found[3] in (None, case), proof
        assert f'"{case}"' in source or found[2].startswith(f"test_{case.lower()}"), proof


def test_every_case_test_is_on_the_page() -> None:
    on_page = {case for case, status, _ in _ROW.findall(_PAGE) if status == "test"}
    tested: set[str] = set()
    for file in sorted((_ROOT / "tests" / "ocpp").glob("test_cases_*.py")):
        source = file.read_text()
        tested |= set(_NAMED.findall(source)) | {name.upper() for name in _FUNCTION.findall(source)}
    assert tested == on_page


def test_the_numbers_on_the_page_are_its_rows() -> None:
    told = re.findall(r"^\| [^|]+ \| (\d+) \| (\d+) \| (\d+) \|$", _SECTIONS[0], re.MULTILINE)
    rows = [Counter(status for _, status, _ in _ROW.findall(section)) for section in _SECTIONS[1:4]]
    assert told == [(str(row.total()), str(row["test"]), str(row["open"])) for row in rows]
    cases = [case for case, _, _ in _ROW.findall(_PAGE)]
    assert len(cases) == len(set(cases))


def test_every_test_against_a_known_defect_is_there() -> None:
    page = (_ROOT / "docs" / "ocpp-defects.md").read_text()
    named = re.findall(r"`([\w/]+\.py)::([\w:]+)(?:\[[^`]*\])?`", page)
    assert len(named) > 100
    for path, name in named:
        file = _ROOT / path if path.startswith("tests/") else _ROOT / "tests" / "ocpp" / path
        source = file.read_text()
        for part in name.split("::"):
            assert re.search(rf"(?:def|class) {part}\b", source), f"{path}::{name}"
