"""The rules for foreign files, texts and JSON."""

from __future__ import annotations

import gzip
import json
import os
import threading
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolgen.errors import InputError
from toolgen.foreign.data import (
    MAX_DEPTH,
    clean,
    decode,
    parse_json,
    read_bytes,
    read_gzip,
    read_lines,
    read_objects,
    read_text,
    read_values,
)

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**300), 10**300) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def parsed(text: str) -> tuple[Any, list[str]]:
    notes: list[str] = []
    return parse_json(text, "it", notes.append), notes


def lost(path: Path, read: Any) -> tuple[list[Any], list[tuple[str, str]]]:
    losses: list[tuple[str, str]] = []
    return list(read(path, lambda *loss: losses.append(loss))), losses


# --- files ------------------------------------------------------------------------------------------------------------


def test_only_regular_files_are_read_and_nothing_is_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    (tmp_path / "file").write_text("x")
    assert read_text(tmp_path / "link") == "x"
    for name, message in [
        ("pipe", "a pipe or a device"),
        ("zero", "a pipe or a device"),
        (".", "is a folder"),
        ("none", "there is no file"),
        ("file/below", "cannot read"),
        ("n" * 300, "cannot read"),
        ("nul\0", "cannot read"),
    ]:
        with pytest.raises(InputError, match=message) as error:
            read_bytes(tmp_path / name)
        assert "\n" not in str(error.value)


def test_a_pipe_with_a_writer_is_refused_too(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(b"{}",))
    writer.start()
    try:
        with pytest.raises(InputError, match="a pipe or a device"):
            read_text(tmp_path / "pipe")
    finally:
        writer.join(5)
        os.close(reader)


def test_a_file_over_the_limit_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(2 << 20))
    assert len(read_bytes(tmp_path / "a", 2 << 20)) == 2 << 20
    with pytest.raises(InputError, match="more than 1 MB; at most that much is read"):
        read_bytes(tmp_path / "a", 1 << 20)


# --- texts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32-be"])
def test_each_encoding_of_unicode_is_the_same_text(encoding: str) -> None:
    assert decode('{"Ä": "日"}'.encode(encoding), "it") == '{"Ä": "日"}'


def test_lines_end_at_a_line_feed_alone(tmp_path: Path) -> None:
    separators = "\u2028\u2029\x85\x0b\x0c\x1c"
    (tmp_path / "a").write_text(f'"a{separators}b"\r\n \n"c"', encoding="utf-8", newline="")
    found, losses = lost(tmp_path / "a", read_lines)
    assert found == [(1, f'"a{separators}b"'), (3, '"c"')] and not losses


def test_a_line_that_is_no_text_costs_no_other(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b'{"a": 1}\n{"b": "\xff"}\n{"c": 3}\n[4]\n{"d": \n')
    found, losses = lost(tmp_path / "a", read_objects)
    assert found == [(1, {"a": 1}), (3, {"c": 3})]
    assert [place for place, _ in losses] == ["line 2", "line 4", "line 5"]
    assert losses[0][1] == "not text in UTF-8 (byte 7)"


# --- JSON -------------------------------------------------------------------------------------------------------------


def test_a_file_is_one_document_or_its_lines(tmp_path: Path) -> None:
    for content, expected in [
        ("[1,\n 2]", [[1, 2]]),
        ('{"a": 1}\n{"b": 2}\n', [{"a": 1}, {"b": 2}]),
        ('\ufeff{"a": 1}\nnonsense\n{"b": 2}', [{"a": 1}, {"b": 2}]),
    ]:
        (tmp_path / "a").write_text(content, encoding="utf-8")
        assert lost(tmp_path / "a", read_values)[0] == expected
    for content in ("", "nonsense", '{"a": {},\n"b": [\n', "[" * 100_000):
        (tmp_path / "a").write_text(content)
        with pytest.raises(InputError, match=r"a is neither JSON nor JSON lines: "):
            lost(tmp_path / "a", read_values)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1E+400", "9" * 309, "-" + "9" * 5000])
def test_numbers_that_json_does_not_have_are_null_and_noted(number: str) -> None:
    value, notes = parsed(f'{{"a": [{number}, 1.5, {10**300}]}}')
    assert value == {"a": [None, 1.5, 10**300]}
    assert notes == ["1 numbers that JSON does not have (NaN, Infinity, 1e999) became null"]


def test_keys_that_occur_twice_are_joined_and_noted() -> None:
    value, notes = parsed('{"a": 1, "b": {"c": 1, "d": 2}, "a": 3, "b": {"e": 4, "c": 5}}')
    assert value == {"a": 3, "b": {"c": 5, "d": 2, "e": 4}}
    assert len(notes) == 3 and notes[0] == "the key 'a' occurs twice in one object; the later value was taken"


def test_what_is_nested_too_deeply_is_left_out_and_noted() -> None:
    for opening, closing in ('{"a":', "}"), ("[", "]"):
        just = opening * MAX_DEPTH + "1" + closing * MAX_DEPTH
        value, notes = parsed(just)
        assert value == json.loads(just) and not notes
        value, notes = parsed(opening * 3 + just + closing * 3)
        assert notes == [f"what is nested deeper than {MAX_DEPTH} levels was left out"]
        assert json.dumps(value).count(opening[0]) == MAX_DEPTH + 1
        assert clean(json.loads(opening * 3 + just + closing * 3)) == value
    with pytest.raises(InputError, match="it: nested too deeply"):
        parsed("[" * 100_000)


def test_strings_hold_neither_nul_nor_lone_surrogates_however_they_are_written() -> None:
    for written in (r'"\u0000a\ud800b\ude00 \ud83d\ude00"', '"\0a\ud800b\ude00 \U0001f600"'):
        try:
            assert parsed(written)[0] == "a?b? \U0001f600"
        except InputError as error:
            assert "control character" in str(error)  # JSON forbids a bare NUL
    assert clean({"k\0": ["\udfff", ("\0",)]}) == {"k": ["?", [""]]}


@given(values)
def test_what_was_written_as_json_is_read_as_it_is_but_for_the_rules(value: Any) -> None:
    read = parse_json(json.dumps(value), "it")
    assert read == clean(value)
    json.dumps(read, ensure_ascii=False, allow_nan=False).encode()


@given(st.binary(max_size=80))
def test_any_bytes_are_a_value_or_one_line(data: bytes) -> None:
    try:
        parse_json(decode(data, "it"), "it")
    except InputError as error:
        assert str(error).startswith("it: ")


def test_what_a_gzip_file_holds_is_counted_while_it_is_unpacked(tmp_path: Path) -> None:
    packed = tmp_path / "a.gz"
    packed.write_bytes(gzip.compress(bytes(50_000_000)))
    assert packed.stat().st_size < 60_000
    tracemalloc.start()
    with pytest.raises(InputError, match=r"a\.gz holds more than 1 MB; at most that much is unpacked"):
        read_gzip(packed, 1 << 20)
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()
    assert len(read_gzip(packed)) == 50_000_000
