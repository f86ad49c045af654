"""Results on stdout, everything else on stderr, and progress that suits where it is shown."""

from __future__ import annotations

import json

import pytest
from rich.table import Table

from toolgen.cli import console as module
from toolgen.cli.console import emit, fail, message, progress


def test_an_answer_is_json_or_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    emit({"name": "größe"}, True, lambda: "drawn")
    assert json.loads(capsys.readouterr().out) == {"name": "größe"}
    emit({"name": "x"}, False, lambda: "drawn [not markup]")
    assert capsys.readouterr().out == "drawn [not markup]\n"


def test_a_piped_table_is_not_cut_at_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("name")
    table.add_row("x" * 120)
    emit(None, False, lambda: table)
    assert "x" * 120 in capsys.readouterr().out


def test_messages_and_errors_are_single_lines_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    message("long " * 60)
    fail("first\nsecond [red]not markup[/red]")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "long " * 60 + "\nerror: first second [red]not markup[/red]\n"


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0.0, ["encoding: 1/4", "encoding: 2/4", "encoding: 4/4"]), (60.0, ["encoding: 4/4"])]
)
def test_progress_is_a_plain_line_now_and_then_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, seconds: float, expected: list[str]
) -> None:
    monkeypatch.setattr(module, "SECONDS_BETWEEN_LINES", seconds)
    with progress("encoding") as on_progress:
        for done in (1, 2, 4):
            on_progress(done, 4)
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(" (")[0] for line in lines] == expected
    assert lines[-1].startswith("encoding: 4/4 (100%, ")


def test_progress_without_a_known_total_counts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with progress("reading") as on_progress:
        on_progress(7, 0)
    assert capsys.readouterr().err.startswith("reading: 7 (")


def test_progress_that_never_happened_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("idle"):
        pass
    assert capsys.readouterr().err == ""


def test_an_error_inside_progress_passes_through() -> None:
    with pytest.raises(ValueError, match="broken"), progress("working") as on_progress:
        on_progress(1, 2)
        raise ValueError("broken")
