"""Messages that the SDK's parser refuses become ones that it takes, and nothing else of them changes."""

from __future__ import annotations

import json
import time

import pytest
from pydantic_core import from_json

from toolgen.catalog.loaders.mcp_messages import readable


@pytest.mark.parametrize(
    ("message", "value"),
    [
        (rb'{"a": "\ud800 b"}', {"a": "\ufffd b"}),
        (rb'{"\udfff\ud83d": "\ud83d\ude00"}', {"\ufffd\ufffd": "\U0001f600"}),
        (rb'{"a": "\\ud800", "b": "\ud800"}', {"a": r"\ud800", "b": "\ufffd"}),
        (b'{"a": "x\ty\x01"}', {"a": "x\ty\x01"}),
        (b'{"a": "\xff"}', {"a": "\ufffd"}),
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
    ],
)
def test_what_is_mended(message: bytes, value: object) -> None:
    assert json.loads(readable(message)) == value == from_json(readable(message))


def test_what_can_be_read_is_not_touched() -> None:
    message = rb' {"a": ["\ud83d\ude00", 1e999, {"b": null}]} '
    assert readable(message) is message


@pytest.mark.parametrize("levels", [200, 900, 100_000])
def test_what_lies_too_deep_becomes_null_and_its_neighbours_stay(levels: int) -> None:
    deep = b'{"a": ["]", ' * levels + b"1" + b"]}" * levels
    value = from_json(readable(b'{"before": "[", "deep": ' + deep + b', "after": [1, {"b": 2}]}'))
    assert value["before"] == "[" and value["after"] == [1, {"b": 2}]
    assert value["deep"]["a"][1]["a"][0] == "]" and "null" in json.dumps(value["deep"])


@pytest.mark.parametrize(
    "message", [b"", b"{level: info}", b'{"a": ' * 300, b"]" * 300, b'"' * 9, b'{"a": "\\', b"\x00"]
)
def test_what_is_no_json_is_refused(message: bytes) -> None:
    with pytest.raises(ValueError, match="line"):
        readable(message)


@pytest.mark.parametrize("hostile", [b'{"' + rb"\"" * 500_000, b"[" * 1_000_000, rb"\ud800" * 200_000, b'"' * 999_999])
def test_hostile_messages_take_no_long_time(hostile: bytes) -> None:
    begin = time.process_time()
    with pytest.raises(ValueError, match="line"):
        readable(hostile)
    assert time.process_time() - begin < 10
