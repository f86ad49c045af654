"""Options that mean something only together with others: what each of them is for, as one table for all commands.

Before a command begins, every option that was typed or set by a file of --config is looked up here; what would change nothing
is wrong usage. Knows no command's work.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolgen.checkpoint import is_checkpoint
from toolgen.checkpoint.layout import is_kind
from toolgen.datasets.sources import DATASET_KINDS
from toolgen.errors import UsageError
from toolgen.retrieval.registry import WRITTEN

Given = Mapping[str, Any]
"""The parameters of a command by name, with what was typed, set or is the default."""


@dataclass(frozen=True)
class Rule:
    """In these commands, these parameters (by name, one after another) are for `purpose`, which is there if it `holds`."""

    commands: tuple[str, ...]
    options: str
    purpose: str
    holds: Callable[[Given], Any]


def check_options(context: Any) -> None:
    """UsageError, in one line, for an option that was given and would change nothing."""
    command = command_name(context)
    for rule in RULES:
        if command not in rule.commands or rule.holds(context.params):
            continue
        for name in rule.options.split():
            if (place := _place(context, name)) is not None:
                flag = f"{_flag(context, name)}{place}"
                raise UsageError(f"{flag} is for {rule.purpose}; here it would change nothing, so leave it out")


def command_name(context: Any) -> str:
    """`catalog build`, without the program."""
    outer = context.parent
    return f"{command_name(outer)} {context.info_name}".strip() if outer else ""


def _place(context: Any, name: str) -> str | None:
    """Where an option was given, for a message: empty if it was typed, None if it was not given. `false` in a file asks for
    nothing."""
    source = context.get_parameter_source(name)
    if source is not None and source.name == "DEFAULT_MAP" and context.params[name] is not False:
        return f" in {context.params['config']}"
    return "" if source is not None and source.name == "COMMANDLINE" else None


def _flag(context: Any, name: str) -> str:
    """The option as it was typed: that of two which says yes or no; an argument by its name in the help."""
    parameter = next(one for one in context.command.params if one.name == name)
    if parameter.param_type_name == "argument":
        return f"the {name}"
    spellings: list[str] = parameter.secondary_opts if context.params[name] is False else parameter.opts
    return max(spellings, key=len)


# --- what options are for -----------------------------------------------------------------------------------------------


def _reads(*kinds: str) -> Callable[[Given], bool]:
    prefixes = tuple(f"{kind}:" for kind in kinds)
    return lambda given: any(source.startswith(prefixes) for source in given["sources"])


def _methods(given: Given) -> set[str]:
    """The retrievers that were named."""
    return {name for name in (given["retriever"], *(given["add"] or ()), given.get("base_retriever")) if name}


def _may_generate(given: Given) -> bool:
    by_default = given["retriever"] is None and is_checkpoint(given["folder"])
    return by_default or any(name.startswith("generative") for name in _methods(given))


def _calls_endpoints(given: Given) -> bool:
    if given["environment"] is None:
        return bool(given["allow_host"] or given["mcp_server"] or given["python"])
    return bool(given["environment"] == "endpoints")


def _environment(given: Given, kind: str) -> bool:
    return str(given["environment"]).partition(":")[0] == kind


_FROM_SOURCES = ("catalog build", "index", "tools add", "tools update")
_SEARCHES = ("search", "evaluate retrieval")
_ASK_A_MODEL = (*_SEARCHES, "evaluate agent", "evaluate judge")
_WRITES = ("catalog queries", "catalog rewrite")
_LOCAL = "a local model, not for one behind --endpoint"
_OF_A_RUN = (
    "task environment allow_host header server allow_private mcp_server python read_only yes call_within thought max_steps "
    "max_tokens max_seconds max_argument_tokens temperature seed search add alone decline_rate bfcl record resume include "
    "exclude"
)

RULES = (
    Rule(_FROM_SOURCES, "allow_references", "sources of openapi:", _reads("openapi")),
    Rule(
        ("catalog build",),
        "trajectories",
        f"sources with requests ({', '.join(DATASET_KINDS)})",
        _reads(*DATASET_KINDS),
    ),
    Rule(
        ("catalog queries",),
        "encoder",
        "--found-by toolretriever",
        lambda given: "toolretriever" in (given["found_by"] or ()),
    ),
    Rule(("catalog queries",), "base endpoint model", "--by llm", lambda given: given["by"] == "llm"),
    Rule(("catalog rewrite",), "base endpoint model", "--how vague", lambda given: given["how"] == "vague"),
    Rule(_WRITES, "base", _LOCAL, lambda given: not given["endpoint"]),
    Rule(_ASK_A_MODEL, "llm", _LOCAL, lambda given: not given["endpoint"]),
    Rule(("tools add",), "moved", "--update", lambda given: given["replace_known"]),
    Rule(
        ("tools remove",),
        "exclude",
        "--include and --not-in, of whose tools it leaves some",
        lambda given: given["include"] or given["not_in"],
    ),
    Rule(
        ("virtualize",),
        "seed",
        "--init random and for --indexing hierarchical or codes",
        lambda given: given["init"] == "random" or given["indexing"] in ("hierarchical", "codes"),
    ),
    Rule(
        ("train distill",),
        "encoder",
        "--teacher toolretriever",
        lambda given: "toolretriever" in (given["teacher"] or ("toolretriever",)),
    ),
    Rule(
        (*_SEARCHES, "calibrate", "serve", "mcp"),
        "encoder",
        "--retriever or --add toolretriever",
        lambda given: "toolretriever" in _methods(given),
    ),
    Rule(
        _SEARCHES,
        "llm endpoint model base_retriever",
        f"--retriever {', '.join(WRITTEN)}",
        lambda given: given["retriever"] in WRITTEN,
    ),
    Rule(_SEARCHES, "beam", "a checkpoint that searches by its own model (generative)", _may_generate),
    Rule(("search",), "output", "--queries FILE", lambda given: given["queries"]),
    Rule(("evaluate agent",), "retriever top", "--policy retrieved", lambda given: given["policy"] == "retrieved"),
    Rule(
        ("evaluate agent",),
        "add alone decline_rate thought",
        "--policy generative, the checkpoint's own model",
        lambda given: given["policy"] == "generative",
    ),
    Rule(
        ("evaluate agent",),
        "llm endpoint model",
        "--policy ground-truth or retrieved",
        lambda given: given["policy"] != "generative",
    ),
    Rule(
        ("evaluate agent",),
        "add decline_rate",
        "tools that the model chooses, not for --given-tools",
        lambda given: not given["given_tools"],
    ),
    Rule(("evaluate agent",), "seed", "--limit, which draws tasks", lambda given: given["limits"]),
    Rule(("run",), _OF_A_RUN, "a run, not for --replay", lambda given: given["replay"] is None),
    Rule(
        ("run",),
        "seed",
        "--temperature above 0 and for --search dfs, which draw",
        lambda given: given["temperature"] > 0 or given["search"] == "dfs",
    ),
    Rule(("run",), "read_only yes", "--environment endpoints", _calls_endpoints),
    Rule(("run", "mcp"), "header server", "--allow-host", lambda given: given["allow_host"]),
    Rule(
        ("run",),
        "allow_private",
        "--allow-host and for --environment virtual:URL",
        lambda given: given["allow_host"] or _environment(given, "virtual"),
    ),
    Rule(("run",), "bfcl", "--environment bfcl", lambda given: _environment(given, "bfcl")),
    Rule(
        ("serve",),
        "running waiting",
        "a checkpoint, whose model answers; a dataset is only searched",
        lambda given: not is_kind(Path(given["given"][0]), "dataset"),
    ),
    Rule(("mcp",), "allow_private", "--allow-host", lambda given: given["allow_host"]),
    Rule(("mcp",), "host port", "--http", lambda given: given["http"]),
    Rule(("mcp",), "yes", "--confirm, where a client cannot ask", lambda given: given["confirm"]),
    Rule(("mcp",), "log_contents", "--log FILE", lambda given: given["log"]),
    Rule(("mcp",), "as_json", "--report", lambda given: given["report"]),
)
"""The first rule that an option breaks is told."""
