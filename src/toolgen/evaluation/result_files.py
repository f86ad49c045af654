"""Result files: JSON that `toolgen evaluate ... -o RESULT` wrote, read back as values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from toolgen.errors import DatasetError, InputError
from toolgen.evaluation.agent_results import AgentResult
from toolgen.evaluation.results import FORMAT, RetrievalResult
from toolgen.foreign.data import read_json

Result = RetrievalResult | AgentResult
_KINDS: Mapping[str, Callable[[Mapping[str, Any]], Result]] = {
    "retrieval": RetrievalResult.from_dict,
    "agent": AgentResult.from_dict,
}


def load_result(path: Path) -> Result:
    """The result in a file. InputError if it is none of toolgen's, damaged, or of another format."""
    record = read_json(path)
    kind = str(record.get("kind")) if isinstance(record, dict) else ""
    if kind not in _KINDS:
        raise InputError(f"{path} is not a result file; expected one that `toolgen evaluate ... -o RESULT` wrote")
    if record.get("format") != FORMAT:
        raise InputError(
            f"{path} has result format {record.get('format')}, this toolgen reads {FORMAT}; evaluate again"
        )
    try:
        return _KINDS[kind](record)
    except (ValueError, DatasetError) as error:
        raise InputError(f"{path} is a damaged {kind} result ({error}); evaluate again") from error
