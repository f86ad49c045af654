"""Losses and notes by reason: thousands of lines become a few."""

from __future__ import annotations

from toolgen.catalog.loaders import LoadReport, Loss

LOSSES = tuple(Loss(f"GET /{n}", f"line {n}: no reference '#/x/{n}'") for n in range(50))
REPORT = LoadReport(source="s", loaded=1, losses=(Loss("odd", "is asynchronous"), *LOSSES), notes=("a: x", "b: x", "c"))


def test_reasons_that_differ_only_in_numbers_and_quoted_names_are_one() -> None:
    most, least = REPORT.loss_reasons()
    assert (most.count, most.reason) == (50, "line 0: no reference '#/x/0'")
    assert most.examples == ("GET /0", "GET /1", "GET /2", "GET /3")
    assert (least.count, least.examples) == (1, ("odd",))


def test_notes_are_grouped_by_what_follows_the_name() -> None:
    assert [(one.examples, one.reason, one.count) for one in REPORT.note_reasons()] == [
        (("a", "b"), "x", 2),
        (("",), "c", 1),
    ]


def test_a_report_survives_its_record_and_the_record_has_the_summary() -> None:
    record = REPORT.to_dict()
    assert LoadReport.from_dict(record) == REPORT
    assert record["lost"] == 51 == sum(reason["count"] for reason in record["reasons"])
