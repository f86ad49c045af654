"""The page: results, training curves and the tool map as one HTML file.

Runs no model. The page makes no request to any server, follows the reader's light or dark setting, and escapes every string
that comes from data.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from toolgen.errors import UsageError
from toolgen.evaluation.agent_results import AgentResult
from toolgen.evaluation.report.agent import agent
from toolgen.evaluation.report.retrieval import comparisons
from toolgen.evaluation.report.tool_map import ToolMap, laid_out
from toolgen.evaluation.report.training import curves
from toolgen.evaluation.report.words import percent, plain, signed
from toolgen.evaluation.result_files import Result
from toolgen.evaluation.results import RetrievalResult
from toolgen.files import write_text
from toolgen.foreign.shown import drawn


def write_report(
    results: Sequence[Result],
    path: Path,
    *,
    title: str = "Finding and calling tools",
    labels: Sequence[str] | None = None,
    training: Iterable[Mapping[str, Any]] = (),
    tool_map: ToolMap | None = None,
) -> None:
    """Writes the page. See `render_report` for the arguments."""
    write_text(path, render_report(results, title=title, labels=labels, training=training, tool_map=tool_map))


def render_report(
    results: Sequence[Result],
    *,
    title: str = "Finding and calling tools",
    labels: Sequence[str] | None = None,
    training: Iterable[Mapping[str, Any]] = (),
    tool_map: ToolMap | None = None,
) -> str:
    """The page as HTML.

    Results of retrieval on the same dataset and split are compared with each other. `labels` name the results (one each, by
    default the method). `training` are the records of a checkpoint's `metrics.jsonl`. What is not given has no section.
    Raises UsageError without a result.
    """
    if not results:
        raise UsageError("a report needs at least one result file; make one with: toolgen evaluate retrieval ...")
    names = labels or [result.name for result in results]
    pairs = list(zip(results, names, strict=True))
    environment = Environment(
        loader=PackageLoader("toolgen.evaluation"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=percent, signed=signed)
    style = Path(__file__).parent.with_name("templates") / "report.css"
    page = environment.get_template("report.html.jinja").render(
        title=title,
        style=Markup(style.read_text(encoding="utf-8")),
        facts=_facts(results),
        comparisons=comparisons([(one, name) for one, name in pairs if isinstance(one, RetrievalResult)]),
        agents=[agent(one, name) for one, name in pairs if isinstance(one, AgentResult)],
        curves=curves(list(training)),
        tool_map=laid_out(tool_map) if tool_map else None,
        origins=[_origin(result, name) for result, name in pairs],
    )
    return drawn(page)


def _facts(results: Sequence[Result]) -> list[tuple[str, str]]:
    """What was measured on what, each fact once."""
    facts: dict[str, list[str]] = {"Dataset": [], "Model": [], "Tools": [], "Date": [], "Machine": []}
    for result in results:
        origin = result.provenance
        found = {
            "Dataset": f"{origin.dataset['name']} {origin.dataset['version']}".strip(),
            "Model": str(origin.config.get("model", "")),
            "Tools": f"{origin.catalog['tools']:,}",
            "Date": origin.date[:10],
            "Machine": _machine(origin.hardware),
        }
        for name, value in found.items():
            if value and value not in facts[name]:
                facts[name].append(value)
    return [(name, ", ".join(values)) for name, values in facts.items() if values]


def _machine(hardware: Mapping[str, Any]) -> str:
    parts = [hardware.get("accelerator") or hardware.get("processor", ""), f"{hardware.get('cores', '?')} cores"]
    if hardware.get("memory_gib"):
        parts.append(f"{hardware['memory_gib']:g} GiB")
    return ", ".join(str(part) for part in parts if part)


def _origin(result: Result, label: str) -> dict[str, Any]:
    """The provenance of one result as lines of a name and a value."""
    lines = []
    for name, value in result.provenance.to_dict().items():
        if isinstance(value, Mapping):
            text = ", ".join(f"{key}: {plain(entry)}" for key, entry in value.items())
        else:
            text = plain(value)
        lines.append((name, text))
    return {"label": label, "lines": lines}
