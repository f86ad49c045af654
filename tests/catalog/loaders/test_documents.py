"""Documents are read whole or refused in one line, within bounds."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from toolgen.catalog.loaders import documents
from toolgen.catalog.loaders.documents import RawDocument, parse_document, read_documents
from toolgen.catalog.loaders.report import Loss
from toolgen.errors import InputError


def read(place: Path) -> tuple[dict[str, bytes], dict[str, str]]:
    """Data by name, and reasons of losses by name."""
    items = list(read_documents(place).items)
    found = {item.name: item.data for item in items if isinstance(item, RawDocument)}
    return found, {item.name: item.reason for item in items if isinstance(item, Loss)}


def refused(data: bytes, name: str = "x.json") -> str:
    with pytest.raises(InputError) as caught:
        parse_document(data, name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text(st.characters(codec="utf-8"), max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abcXYZ-_$/", min_size=1), inner, max_size=4),
)


@given(plain)
def test_json_and_its_yaml_are_read_as_the_same_value(value: Any) -> None:
    if "\\u0000" in json.dumps(value):  # which no text keeps
        return
    assert parse_document(json.dumps([value]).encode(), "x.json") == [value]
    text = yaml.safe_dump({"value": value}, allow_unicode=False)
    assert parse_document(text.encode(), "x.yaml") == {"value": value}


def test_yaml_is_read_by_the_core_schema_of_yaml_1_2() -> None:
    text = b"""
no: no
date: 2024-01-02
octal: 010
hex: 0x1F
number: 1.5e3
infinite: .inf
huge: 1e999
quoted: "1"
tagged: !!str 2
object: !!python/object/apply:os.system [id]
200: ok
nothing:
"""
    assert parse_document(text, "x.yaml") == {
        "no": "no",
        "date": "2024-01-02",
        "octal": 10,
        "hex": 31,
        "number": 1500.0,
        "infinite": ".inf",
        "huge": "1e999",
        "quoted": "1",
        "tagged": "2",
        "object": ["id"],
        "200": "ok",
        "nothing": None,
    }


def test_yaml_aliases_and_merges_are_followed_as_pyyaml_does() -> None:
    text = "a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: [*a, *a]\nd: {y: 4, <<: [*a]}\ne: {'<<': 5}\n"
    assert parse_document(text.encode(), "x.yaml") == {
        **yaml.safe_load(text.replace("e: {'<<': 5}\n", "")),
        "e": {"<<": 5},
    }


def test_yaml_aliases_that_explode_are_refused_at_once() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    start = time.monotonic()
    assert "when its aliases are expanded" in refused("\n".join(lines).encode(), "bomb.yaml")
    assert time.monotonic() - start < 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "the document is empty"),
        (b"\xff\xd8\xff\xe0 picture", "not text in UTF-8"),
        (b'{"openapi": "3.0.0", "paths": {"/a"', "not JSON.*may be incomplete"),
        (b'{"a": "\0"}', "not JSON"),
        (b"a: [1, 2", "neither JSON nor YAML"),
        (b"a: &a [*a]", "names nothing before it"),
        (b"? [a, b]\n: c", "a key of a mapping is not text"),
        (b"a: 1\n---\nb: 2", "several YAML documents"),
        (b"[" * 10_000 + b"]" * 10_000, "nested too deeply"),
        (b"a: " + b"[" * 10_000 + b"]" * 10_000, "neither JSON nor YAML|nested deeper"),
    ],
)
def test_what_is_no_document_is_one_clear_line(text: bytes, said: str) -> None:
    line = refused(text, "x.yaml" if text.startswith((b"a:", b"?")) else "x.json")
    assert pytest.importorskip("re").search(said, line), line


def test_numbers_that_json_does_not_have_become_null() -> None:
    assert parse_document(b'{"a": NaN, "b": -Infinity, "c": 1e999, "d": 1e3}', "x") == {
        "a": None,
        "b": None,
        "c": None,
        "d": 1000.0,
    }


def test_nul_and_lone_surrogates_are_taken_out_and_pairs_kept() -> None:
    value = parse_document(b'{"a\\u0000": "\\ud83d\\ude00 \\ud800", "b": "\xed\xa0\x80"}', "x")
    assert value == {"a": "\U0001f600 ?", "b": "?"}
    json.dumps(value, ensure_ascii=False).encode()


def test_a_byte_order_mark_and_utf_16_are_understood() -> None:
    assert parse_document("\ufeff{}".encode(), "x") == {}
    assert parse_document('{"a": "é"}'.encode("utf-16"), "x") == {"a": "é"}


def test_a_folder_gives_all_its_documents_and_follows_no_link_out(tmp_path: Path) -> None:
    folder = tmp_path / "apis"
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "b.yaml").write_text("b")
    (folder / "deep" / "er" / "a.JSON").write_text("a")
    (folder / "readme.md").write_text("no")
    (tmp_path / "secret.json").write_text("secret")
    (folder / "link.json").symlink_to(tmp_path / "secret.json")
    (folder / "loop.json").symlink_to(folder / "loop.json")
    (folder / "same.json").symlink_to(folder / "b.yaml")

    found, lost = read(folder)

    assert found == {"b.yaml": b"b", "same.json": b"b", "deep/er/a.JSON": b"a"}
    assert "leads out of the folder" in lost["link.json"]
    assert set(lost) == {"link.json", "loop.json"}


def tar_of(path: Path, members: dict[str, bytes | str], mode: str = "w:gz") -> Path:
    """An archive; a member that is text is a symbolic link to it."""
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            if isinstance(data, str):
                info.type, info.linkname = tarfile.SYMTYPE, data
                archive.addfile(info)
            else:
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    return path


def zip_of(path: Path, members: dict[str, bytes | str]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo(name)
            if isinstance(data, str):
                info.external_attr = 0o120777 << 16
            archive.writestr(info, data, zipfile.ZIP_DEFLATED)
    return path


MEMBERS: dict[str, bytes | str] = {
    "good/a.json": b"a",
    "../evil.json": b"evil",
    "/abs.json": b"evil",
    "c:\\x.json": b"evil",
    "link.json": "/etc/passwd",
    "picture.png": b"p",
    "b.yml": b"b",
}


@pytest.mark.parametrize("name", ["x.zip", "x.tgz", "x.tar.gz"])
def test_an_archive_is_read_without_unpacking_and_bad_members_are_losses(tmp_path: Path, name: str) -> None:
    path = (zip_of if name.endswith("zip") else tar_of)(tmp_path / name, MEMBERS)
    found, lost = read(path)
    assert found == {"good/a.json": b"a", "b.yml": b"b"}
    assert set(lost) == {"../evil.json", "/abs.json", "c:\\x.json", "link.json"} or name == "x.zip"
    assert len(lost) == 4 and "not followed" in lost["link.json"]
    assert sorted(p.name for p in tmp_path.iterdir()) == [name]


@pytest.mark.parametrize("name", ["bomb.zip", "bomb.tgz"])
def test_an_archive_that_explodes_is_left(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "MIN_ARCHIVE_BYTES", 4 << 20)
    make = zip_of if name.endswith("zip") else tar_of
    path = make(tmp_path / name, {"first.json": b"{}", **{f"{n}.json": bytes(3 << 20) for n in range(4)}})
    assert path.stat().st_size < 30_000
    found, lost = read(path)
    assert "larger than 4 MB" in lost[name]
    assert len(found) <= 2


def test_a_tar_header_of_impossible_length_is_refused(tmp_path: Path) -> None:
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 1 << 33
    (tmp_path / "x.tgz").write_bytes(gzip.compress(header.tobuf(tarfile.GNU_FORMAT) + bytes(1024)))
    assert "impossible length" in read(tmp_path / "x.tgz")[1]["x.tgz"]


@pytest.mark.parametrize("name", ["x.zip", "x.tgz", "x.tar"])
def test_a_damaged_archive_is_one_loss(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"<html>login</html>" * 100)
    found, lost = read(tmp_path / name)
    assert not found and "damaged or of another kind" in lost[name]


def test_a_truncated_archive_gives_what_is_before_the_end_and_a_loss(tmp_path: Path) -> None:
    path = tar_of(tmp_path / "x.tgz", {"a.json": b"a" * 100_000, "b.json": bytes(range(256)) * 400})
    path.write_bytes(path.read_bytes()[:-40])
    assert "x.tgz" in read(path)[1]


def test_a_document_that_is_too_large_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "MAX_DOCUMENT_BYTES", 100)
    (tmp_path / "big.json").write_text("x" * 101)
    assert "at most" in read(tmp_path)[1]["big.json"]
    with pytest.raises(InputError, match="at most"):
        read_documents(tmp_path / "big.json")
    zip_of(tmp_path / "x.zip", {"big.json": b"x" * 101, "small.json": b"{}"})
    found, lost = read(tmp_path / "x.zip")
    assert set(found) == {"small.json"} and "at most" in lost["big.json"]


@pytest.mark.parametrize("place", ["no/such/file.json", "a\0b", "x" * 5000])
def test_a_place_that_is_not_there_is_one_line(place: str) -> None:
    with pytest.raises(InputError, match=r"there is no file or folder|cannot read"):
        read_documents(place)
