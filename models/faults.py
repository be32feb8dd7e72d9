"""Why something could not be read, in one line: it names fields, never values."""

from __future__ import annotations

from pydantic import ValidationError

_MOST_FAULTS = 5
_MOST_CHARACTERS = 450


def faults_of(error: ValidationError) -> str:
    faults = error.errors(include_url=False, include_input=False)[:_MOST_FAULTS]
    text = "; ".join(f"{'.'.join(str(part) for part in f['loc'])}: {f['msg']}" for f in faults)
    return text[:_MOST_CHARACTERS]
