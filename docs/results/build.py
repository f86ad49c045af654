"""The charts and tables of these pages, from the numbers in `data/`.

    python docs/results/build.py

Writes NAME.svg beside each page, every table in full into tables/, and the small tables between the markers of a page. Those of
servers are made of the newest `benchmarks/results/serving-*.json`.
`toolgen experiment` prints the numbers; a file of `data/` keeps them as `[value, low, high]`, a difference with a fourth entry
that says whether its interval leaves out zero.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup

from toolgen.foreign.shown import markdown_table

HERE = Path(__file__).resolve().parent
README = HERE.parents[1] / "README.md"
BENCHMARKS = HERE.parents[1] / "benchmarks" / "results"
SERVED = {"search": "a search", "whole": "a chat", "streamed": "a streamed chat"}
OURS, WITH_OTHERS, OTHERS = "#1f4e79", "#5b8dbf", "#9aa3ad"
WIDTH, LABELS, ROW, TOP = 880, 256, 24, 70


class Row(NamedTuple):
    """One method of a chart or small table: what it is called there, and where its numbers are."""

    label: str
    data: str
    method: str


class Column(NamedTuple):
    """One panel of a chart or column of a small table: a group of requests, if there are several, and a metric. `data` is the
    file, if it is not the row's, and `label` the heading, if it is not the metric."""

    group: str | None
    metric: str
    data: str | None = None
    label: str | None = None

    @property
    def heading(self) -> str:
        """Above the panel or column."""
        return self.label or self.metric


class Figure(NamedTuple):
    """What a page shows of its numbers: the same rows as a chart and as a table."""

    title: str
    rows: Sequence[Row]
    panels: Sequence[Column]
    columns: Sequence[Column]


def rows(data: str, *methods: str) -> list[Row]:
    """Methods of one file under their own names."""
    return [Row(method, data, method) for method in methods]


ALL_1, ALL_5 = Column("all", "NDCG@1"), Column("all", "recall@5")
ASKED_1, ASKED_5 = Column("asked", "NDCG@1"), Column("asked", "recall@5")
UNASKED_1, UNASKED_5 = Column("unasked", "NDCG@1"), Column("unasked", "recall@5")
GROUPS = (ALL_1, ALL_5, ASKED_1, ASKED_5, UNASKED_1, UNASKED_5)
PARTLY_ASKED = (
    "toolgen",
    "toolgen + unasked",
    "toolgen + BM25",
    "toolgen + BM25 + ToolRetriever",
    "toolgen from SmolLM2",
)
BASELINES = ("ToolRetriever", "ToolRetriever + BM25", "MiniLM + BM25", "BM25", "MiniLM")
BEFORE = "toolgen, before its agent stage"
SIX, ONE = "at most six words", "one word"


def overview(name: str, *methods: str) -> list[Row]:
    """A dataset's line of the overview."""
    return rows(name, *(methods or ("toolgen", "toolgen + BM25", "ToolRetriever", "ToolRetriever + BM25", "BM25")))


OVERVIEW = (
    (
        "[BFCL](bfcl.md), quickstart",
        ALL_1,
        [
            *rows("bfcl-base", "toolgen", "toolgen + BM25"),
            *rows("bfcl", "ToolRetriever", "ToolRetriever + BM25", "BM25"),
        ],
    ),
    (
        "[BFCL](bfcl.md), index and retrieval stage",
        ALL_1,
        [
            *rows("bfcl-base", BEFORE, f"{BEFORE}, + BM25"),
            *rows("bfcl", "ToolRetriever", "ToolRetriever + BM25", "BM25"),
        ],
    ),
    (
        "[BFCL](bfcl.md), longer training",
        ALL_1,
        overview(
            "bfcl-written",
            "toolgen, distilled",
            "toolgen, distilled + BM25",
            "ToolRetriever",
            "ToolRetriever + BM25",
            "BM25",
        ),
    ),
    (
        "[ToolLens](toollens.md)",
        Column(None, "NDCG@1"),
        overview("toollens", "toolgen", "", "ToolRetriever (MiniLM, 2 epochs)", "", "BM25"),
    ),
    ("[Seal-Tools](seal-tools.md)", ALL_1, overview("seal-tools")),
    ("[StableToolBench](stabletoolbench.md)", ALL_1, overview("stabletoolbench")),
)

FIGURES: Mapping[str, Figure] = {
    "bfcl": Figure(
        "BFCL: 582 test requests, each searched over 1,415 tools",
        [
            Row("toolgen, longer training", "bfcl-written", "toolgen, distilled"),
            Row("toolgen, longer training + unasked", "bfcl-written", "toolgen, distilled + unasked"),
            Row("toolgen, longer training + BM25", "bfcl-written", "toolgen, distilled + BM25"),
            Row("toolgen, retrieval stage", "bfcl-base", BEFORE),
            Row("toolgen, retrieval stage + BM25", "bfcl-base", f"{BEFORE}, + BM25"),
            Row("toolgen, quickstart", "bfcl-base", "toolgen"),
            Row("toolgen, quickstart + BM25", "bfcl-base", "toolgen + BM25"),
            Row("toolgen, three stages from SmolLM2", "bfcl", "toolgen"),
            Row("ToolRetriever", "bfcl", "ToolRetriever"),
            Row("ToolRetriever, written requests", "bfcl-written", "ToolRetriever, written requests"),
            Row("ToolRetriever + BM25", "bfcl", "ToolRetriever + BM25"),
            Row("MiniLM + BM25", "bfcl", "MiniLM + BM25"),
            Row("BM25", "bfcl", "BM25"),
            Row("MiniLM", "bfcl", "MiniLM"),
        ],
        (ALL_1, ASKED_1, UNASKED_1, ALL_5),
        GROUPS,
    ),
    "headline": Figure(
        "The right tool first, of 1,415: BFCL's 582 test requests",
        [
            Row("toolgen, longer training + BM25", "bfcl-written", "toolgen, distilled + BM25"),
            Row("toolgen, longer training", "bfcl-written", "toolgen, distilled"),
            Row("toolgen, quickstart", "bfcl-base", "toolgen"),
            Row("toolgen, quickstart + BM25", "bfcl-base", "toolgen + BM25"),
            Row("ToolRetriever + BM25", "bfcl", "ToolRetriever + BM25"),
            Row("ToolRetriever (trained encoder)", "bfcl", "ToolRetriever"),
            Row("MiniLM + BM25", "bfcl", "MiniLM + BM25"),
            Row("BM25", "bfcl", "BM25"),
            Row("MiniLM (encoder as it is)", "bfcl", "MiniLM"),
        ],
        (ALL_1, ASKED_1, UNASKED_1),
        (),
    ),
    "toollens": Figure(
        "ToolLens: 1,695 test requests, 464 tools",
        rows("toollens", "toolgen", "toolgen, by sets", "ToolRetriever (MiniLM, 2 epochs)", "ToolRetriever, by sets")
        + rows("toollens", "BM25", "MiniLM", "COLT, published, on the test split"),
        [Column(None, name) for name in ("NDCG@5", "recall@5", "COMP@3", "COMP@5")],
        [Column(None, name) for name in ("NDCG@1", "NDCG@5", "recall@5", "COMP@3", "COMP@5")],
    ),
    "seal-tools": Figure(
        "Seal-Tools: 146 test requests, 4,076 tools",
        rows("seal-tools", *PARTLY_ASKED, *BASELINES),
        (ALL_1, ALL_5, Column("all", "COMP@5"), Column("three tools or more", "COMP@5")),
        (ALL_1, ALL_5, Column("all", "COMP@5"), UNASKED_1, UNASKED_5, Column("three tools or more", "COMP@5")),
    ),
    "stabletoolbench": Figure(
        "StableToolBench: 105 test requests, 1,684 tools",
        rows("stabletoolbench", *PARTLY_ASKED, *BASELINES),
        (ALL_1, ASKED_1, UNASKED_1, ALL_5),
        GROUPS,
    ),
    "short-requests": Figure(
        "BFCL's 582 test requests in fewer words",
        rows("short-requests", "toolgen", "toolgen + BM25", "toolgen, distilled", "ToolRetriever", "BM25", "MiniLM"),
        (Column(SIX, "NDCG@1"), Column(SIX, "recall@5"), Column(ONE, "NDCG@1"), Column(ONE, "recall@5")),
        (Column(SIX, "NDCG@1"), Column(SIX, "recall@5"), Column(ONE, "NDCG@1"), Column(ONE, "recall@5")),
    ),
    "stages": Figure(
        "What each stage adds: BFCL's 582 test requests, a short training",
        [
            *rows("stages", "both stages", "without memorization", "without retrieval training"),
            Row("without both", "stages", "without both (rows from the documentation)"),
        ],
        (
            Column(None, "NDCG@1"),
            Column(None, "NDCG@1, asked"),
            Column(None, "NDCG@1, unasked"),
            Column(None, "recall@5"),
        ),
        (),
    ),
    "indexings": Figure(
        "Five ways to write a tool: BFCL's 582 test requests, a short training",
        rows("indexings", "atomic", "semantic (readable names)", "codes (learned)", "hierarchical", "numeric"),
        [Column(None, name) for name in ("NDCG@1", "recall@5", "recall@5, asked", "recall@5, unasked")],
        (),
    ),
    "agent": Figure(
        "Carrying out tasks: BFCL's test requests, percent",
        [
            Row("right tools", "agent", "single-turn: the right tools"),
            Row("first tool right", "agent", "single-turn: the first tool right"),
            Row("every call right", "agent", "single-turn: every call right by BFCL's rule"),
            Row("declined where no tool fits", "agent", "... those that no tool fits after all: declined"),
            Row("turns that leave the right state", "agent", "... turns that leave the right state"),
            Row("turns solved", "agent", "multi-turn: turns solved"),
        ],
        [
            Column(None, "from SmolLM2"),
            Column(None, "new base + BM25"),
            Column(None, "then 420 steps, other values", "agent-rows", "rows stay"),
            Column(None, "then 360 on BFCL's and Seal-Tools'", "agent-own", "what was said"),
        ],
        (),
    ),
}


def read(name: str) -> dict[str, Any]:
    """The numbers of one experiment."""
    content: dict[str, Any] = json.loads((HERE / "data" / f"{name}.json").read_text(encoding="utf-8"))
    return content


def value(row: Row, column: Column) -> Any:
    """A number or `[value, low, high]` from the first table of the row's file; None where it was not measured."""
    table = read(column.data or row.data)["tables"][0]
    (group,) = (one for one in table["groups"] if one.get("group") == column.group)
    found = group["rows"].get(row.method)
    return found and found[table["columns"].index(column.metric)]


def group_name(figure: Figure, column: Column) -> str:
    """`asked (322)`; nothing where a file has no groups."""
    if column.group is None:
        return ""
    groups = {group.get("group"): group for group in read(figure.rows[0].data)["tables"][0]["groups"]}
    return labelled(groups[column.group])


def labelled(group: Mapping[str, Any]) -> str:
    """A group with its number of requests."""
    return f"{group['group']} ({group['requests']:,})" if "requests" in group else str(group["group"])


def chart(figure: Figure) -> str:
    """One bar a method in each panel, from 0 to 100, with its 95% interval."""
    step = (WIDTH - LABELS) / len(figure.panels)
    height = TOP + ROW * len(figure.rows) + 26
    drawn = [
        Markup('<text x="{}" y="{}" text-anchor="end">{}</text>').format(LABELS - 10, TOP + ROW * i + 16, row.label)
        for i, row in enumerate(figure.rows)
    ]
    for i, column in enumerate(figure.panels):
        drawn.append(panel(figure, column, LABELS + step * i, step - 54))
    return Markup(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12.5" '
        'fill="#24292f"><rect width="100%" height="100%" fill="white"/><text x="12" y="22" font-size="15" '
        'font-weight="bold">{title}</text>{drawn}<text x="{labels}" y="{last}" fill="#5f6b76" font-size="11">'
        "percent; lines: 95% intervals</text></svg>\n"
    ).format(width=WIDTH, height=height, title=figure.title, drawn=Markup().join(drawn), labels=LABELS, last=height - 9)


def panel(figure: Figure, column: Column, left: float, width: float) -> Markup:
    """The bars of one column, `width` pixels for 100%, with its heading."""
    parts = [
        Markup(
            '<text x="{x:.1f}" y="48" font-weight="bold">{metric}</text><text x="{x:.1f}" y="63" fill="#5f6b76" '
            'font-size="11">{group}</text>'
        ).format(x=left, metric=column.heading, group=group_name(figure, column))
    ]
    for i, row in enumerate(figure.rows):
        if (found := value(row, column)) is None:
            continue
        mean, low, high = found if isinstance(found, list) else (found, found, found)
        parts.append(
            Markup(
                '<rect x="{left:.1f}" y="{top}" width="{width:.1f}" height="16" rx="2" fill="#eef1f4"/>'
                '<rect x="{left:.1f}" y="{top}" width="{length:.1f}" height="16" rx="2" fill="{colour}"/>'
                '<path d="M{low:.1f} {middle}H{high:.1f}" stroke="#24292f" stroke-width="1.2"/>'
                '<text x="{end:.1f}" y="{base}" text-anchor="end">{mean:.1f}</text>'
            ).format(
                left=left,
                width=width,
                top=TOP + ROW * i + 3,
                length=width * mean / 100,
                colour=colour(figure, row),
                low=left + width * low / 100,
                high=left + width * high / 100,
                middle=TOP + ROW * i + 11,
                end=left + width + 36,
                base=TOP + ROW * i + 16,
                mean=mean,
            )
        )
    return Markup().join(parts)


def colour(figure: Figure, row: Row) -> str:
    """Dark for the model alone, lighter with another method, grey for other methods; dark where all rows are the model's."""
    if any(one.label.startswith("toolgen") for one in figure.rows) and not row.label.startswith("toolgen"):
        return OTHERS
    return WITH_OTHERS if re.search(r"\+ (BM25|ToolRetriever)", row.label) else OURS


def small_table(figure: Figure) -> str:
    """The figure's rows and columns as Markdown, without intervals."""
    cells = [[row.label, *(mean(value(row, column)) for column in figure.columns)] for row in figure.rows]
    heads = [", ".join(filter(None, (column.heading, group_name(figure, column)))) for column in figure.columns]
    return markdown_table(["method", *heads], cells)


def mean(found: Any) -> str:
    """The number alone."""
    return "" if found is None else f"{found[0] if isinstance(found, list) else found:.1f}"


def full_tables(name: str) -> str:
    """Every table of a file as Markdown."""
    content = read(name)
    parts = [f"# {content['title']}: all tables", f"{content['measured']}. Made by `{content['command']}`."]
    for table in content["tables"]:
        grouped = "group" in table["groups"][0]
        head = ["requests"] * grouped + ["method", *table["columns"]]
        parts += [table["caption"], markdown_table(head, full_rows(table, grouped))]
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


def full_rows(table: Mapping[str, Any], grouped: bool) -> Iterator[list[str]]:
    """A line for each group and method."""
    for group in table["groups"]:
        for i, (method, cells) in enumerate(group["rows"].items()):
            name = labelled(group) if grouped and i == 0 else ""
            yield [name] * grouped + [method, *map(cell, cells)]


def cell(found: Any) -> str:
    """A value as the pages write it."""
    match found:
        case None:
            return ""
        case [mean, low, high]:
            return f"{mean:.1f} ({low:.1f}–{high:.1f})"
        case [mean, low, high, significant]:
            text = f"**{mean:+.1f}**" if significant else f"{mean:+.1f}"
            return f"{text} ({low:+.1f} to {high:+.1f})".replace("-", "−")
        case float():
            return f"{found:.1f}"
    return f"{found:,}" if isinstance(found, int) else str(found)


def outputs() -> dict[Path, str]:
    """Every generated file and its content."""
    made = {HERE / f"{name}.svg": chart(figure) for name, figure in FIGURES.items()}
    made |= {HERE / "tables" / f"{file.stem}.md": full_tables(file.stem) for file in (HERE / "data").glob("*.json")}
    made |= {page: with_tables(page) for page in HERE.glob("*.md")}
    made[README] = with_tables(README, "docs/results/")
    return made


def with_tables(page: Path, folder: str = "") -> str:
    """A page with its tables drawn anew; `folder` is the way from it to this one."""

    def drawn(found: re.Match[str]) -> str:
        return found[1] + page_table(found[2]).replace("](", f"]({folder}") + found[3]

    return re.sub(r"(<!-- table:(\S+) -->\n).*?(<!-- end -->)", drawn, page.read_text(encoding="utf-8"), flags=re.S)


def serving_table(name: str) -> str:
    """What `benchmarks/serving.py` measured last, against what is asked (`serving`), or as times (`serving-times`)."""
    found = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(BENCHMARKS.glob("serving-*.json"))]
    whole = [one for one in found if "load" in one]
    if not whole:
        return "Not measured yet.\n" if name == "serving" else ""
    if name == "serving-times":
        head = ["milliseconds", "requests", "p50", "p95", "p99"]
        return markdown_table(head, [*served_times(whole[-1])])
    large = [one for one in found if one["tools"] >= 100_000]
    lines = [*served_bars(whole[-1]), *(search_bar(one, 1.5) for one in large[-1:])]
    return markdown_table(["", "measured", "asked"], [[what, measured, asked] for what, measured, asked in lines])


def served_bars(result: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """What was measured of a server, and what is asked of it."""
    load, gone, ended = result["load"], result["broken_off"], result["terminated"]
    memory, poisoned, alone = load["memory_mib"], result["poisoned"], result["alone"]
    many = f"{load['clients']} clients"
    busy = load["statuses"].get("429", 0)
    yield (
        f"{many} for {load['seconds']:.0f} s, {sum(load['statuses'].values()):,} answers: errors but 429",
        f"{load['errors']} ({busy} answers 429)",
        "0",
    )
    thirds = [f"{memory[part]:,}" for part in ("first_third", "second_third", "last_third") if part in memory]
    yield "memory in each third of the time (median), MiB; in the first a cache fills", " → ".join(thirds), "level"
    yield (
        f"p95 of the searches of {many}, in times of as many searches of one caller at once",
        f"{result['searches']['p95_over_batch']:.2f}",
        "at most 3",
    )
    yield (
        f"{gone['breaks']:,} clients that break off: conversations that still run {gone['settled_seconds']:.1f} s later",
        str(gone["load_after"]),
        "0",
    )
    answered = ended["answers"].get("200", 0)
    yield "SIGTERM: accepted chats that were answered", f"{answered} of {ended['accepted']}", "all"
    bad = sum(poisoned["poisoned_statuses"].values())
    yield f"{bad} poisoned requests beside {many}: errors of the others", str(poisoned["errors"]), "0"
    yield search_bar(result, 1.3)
    first = f"{alone['first_byte_over_first_token']:.2f} ({alone['first_piece_over_first_token']:.2f})"
    yield "first byte of a stream (first piece that names the tool), in times of the first token", first, "at most 1.2"


def search_bar(result: Mapping[str, Any], most: float) -> tuple[str, str, str]:
    """What HTTP and the scores of all tools add to a bare pass."""
    what = f"`/v1/tools/search` over {result['tools']:,} tools, in bare forward passes"
    return what, f"{result['alone']['search_over_bare']:.2f}", f"at most {most}"


def served_times(result: Mapping[str, Any]) -> Iterator[list[str]]:
    """How long requests took, of one client and of many."""
    alone = result["alone"]["milliseconds"]
    for name, key in (("bare pass", "bare"), ("a search", "search"), ("a stream's first byte", "first_byte")):
        yield [f"one client: {name}", "", f"{alone[key]:.0f}", "", ""]
    parts = (("load", "mixed"), ("searches", "only searches"), ("poisoned", "searches beside poisoned requests"))
    for part, title in parts:
        for kind, times in result[part]["milliseconds"].items():
            label = f"{result['load']['clients']} clients, {title}: {SERVED[kind]}"
            yield [label, f"{times['count']:,}", *(f"{times[share]:,.0f}" for share in ("p50", "p95", "p99"))]


def page_table(name: str) -> str:
    """What stands between the markers `<!-- table:NAME -->` and `<!-- end -->`: the overview, a table of servers, a figure's,
    or the first table."""
    if name.startswith("serving"):
        return serving_table(name)
    if name == "overview":
        lines = [[label, *(mean(value(row, column)) for row in found)] for label, column, found in OVERVIEW]
        return markdown_table(
            ["NDCG@1", "toolgen", "toolgen + BM25", "ToolRetriever", "ToolRetriever + BM25", "BM25"], lines
        )
    if (figure := FIGURES.get(name)) and figure.columns:
        return small_table(figure)
    table = read(name)["tables"][0]
    return markdown_table(["", *table["columns"]], full_rows(table, grouped=False))


if __name__ == "__main__":
    (HERE / "tables").mkdir(exist_ok=True)
    for path, text in outputs().items():
        path.write_text(text, encoding="utf-8")
