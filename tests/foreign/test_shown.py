"""What people see of a foreign text: every character is drawn, none is obeyed."""

from __future__ import annotations

import unicodedata

import pytest

from toolgen.foreign.shown import drawn, in_markdown, markdown_table, one_line

EVERY = "".join(map(chr, range(0x110000)))


@pytest.mark.parametrize("shown", [drawn, one_line])
def test_no_control_character_is_left_and_the_length_stays(shown: object) -> None:
    assert callable(shown)
    text = shown(EVERY)
    assert len(text) == len(EVERY)
    kept = {one for one in text if unicodedata.category(one) in ("Cc", "Cs") or unicodedata.bidirectional(one) in BIDI}
    assert kept <= {"\t", "\n"} if shown is drawn else not kept


BIDI = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")


def test_one_line_is_one_for_every_reader_of_lines() -> None:
    assert len(one_line(EVERY).splitlines()) == 1
    assert one_line("a\r\nb\u2028c") == "a  b c"


def test_a_cell_of_a_table_does_not_end_before_its_end() -> None:
    table = markdown_table(["a|b", "c"], [["x|y", in_markdown("p|q\n*r*")]])
    assert table == "| a\\|b | c |\n| --- | --- |\n| x\\|y | p\\|q \\*r\\* |\n"
