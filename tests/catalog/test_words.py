"""Words: what terms a text is made of, what of a request says something, and which words tell tools apart."""

from __future__ import annotations

import re
import time
import unicodedata
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolgen.catalog import Tool
from toolgen.catalog.words import TellingWords, content_words, words


def tool(name: str, description: str = "", **parameters: str) -> Tool:
    properties = {key: {"type": "string", "description": text} for key, text in parameters.items()}
    return Tool(
        id=name,
        provider="",
        name=name,
        description=description,
        parameters={"type": "object", "properties": properties},
    )


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("getHTTPStatus_v2", ["get", "http", "status", "v", "2"]),
        ("calc.area-of_circle", ["calc", "area", "circle"]),
        ("What is the weather in Łódź?", ["weather", "łódź"]),
        ("canción мой2 ÜberBlick", ["canción", "мой", "2", "über", "blick"]),
        ("cafe\u0301 CAFÉ Straße STRASSE", ["café", "café", "strasse", "strasse"]),
        ("मौसम की जानकारी, தமிழ் மொழி", ["मौसम", "की", "जानकारी", "தமிழ்", "மொழி"]),
        ("می‌خواهم soft\u00adware", ["میخواهم", "software"]),
        ("天気予報 雨", ["天気", "気予", "予報", "天", "気", "予", "報", "雨"]),
        ("カード ｶｰﾄﾞ", ["カー", "ード", "カー", "ード"]),
        ("วันนี้", ["วัน", "นนี้"]),
        ("서울의 날씨 2일", ["서울", "울의", "날씨", "2", "일"]),
        ("葛\U000e0100城v2", ["葛城", "葛", "城", "v", "2"]),
        ("ＡＢＣ ﬁle m² Foo™ 1️⃣ 👩‍💻", ["abc", "file", "m", "2", "foo", "1"]),
        ("x\ud83dy", ["x", "y"]),
        ("२०२६ ٣ 5", ["2026", "3", "5"]),
        ("the of a", []),
        ("", []),
    ],
)
def test_words_are_parts_of_identifiers_in_any_script(text: str, terms: list[str]) -> None:
    assert words(text) == terms


@given(st.text(st.characters(max_codepoint=0x7F)))
def test_the_terms_of_plain_ascii_are_runs_of_letters_and_digits(text: str) -> None:
    runs = re.findall(r"[A-Za-z]+|[0-9]+", re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", text))
    assert [term for term in map(str.lower, runs) if words(term)] == words(text)


@given(st.text(), st.sampled_from(["NFC", "NFD"]))
def test_terms_do_not_depend_on_how_accents_are_encoded(text: str, form: Literal["NFC", "NFD"]) -> None:
    assert words(unicodedata.normalize(form, text)) == words(text)


@pytest.mark.parametrize("text", ["weather " * 130_000, "a" * 10**6, "é" * 10**6, "天気" * 500_000])
def test_a_megabyte_takes_seconds_at_most(text: str) -> None:
    started = time.process_time()
    assert words(text)
    assert time.process_time() - started < 10


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("What's the weather like in Oslo, please?", ["weather", "Oslo"]),
        ("I can't find Anna's file 'notes.txt'!", ["find", "Anna", "file", "notes.txt"]),
        ("Book a table. I'd like the table (for 4) at 19:30", ["Book", "table"]),
        ("今天天气怎么样？", ["今天天气怎么样"]),
        ("do it for me", []),
        ("", []),
    ],
)
def test_content_words_are_what_is_left_of_a_sentence(text: str, expected: list[str]) -> None:
    assert content_words(text) == expected


def test_the_word_of_the_fewest_tools_tells_most_and_the_earlier_of_equals_goes_first() -> None:
    tools = [tool("get_weather"), tool("get_time"), tool("sendMail", "Send a letter"), tool("send_fax", "Send a fax")]
    telling = TellingWords(tools)
    found = ["get", "time", "send", "unknown", "Weather", "letter"]
    assert [found[i] for i in telling.places(found)] == ["time", "Weather", "letter", "get", "send"]


def test_example_values_numbers_and_single_letters_tell_nothing() -> None:
    telling = TellingWords([tool("forecast_7_x", "Weather of a city", city="for instance Paris")])
    found = ["Paris", "7", "x", "city"]
    assert [found[i] for i in telling.places(found)] == ["city"]


def test_a_word_of_several_parts_tells_as_much_as_its_rarest_one() -> None:
    telling = TellingWords([tool("get_weather"), tool("get_time")])
    assert telling.places(["get", "get_time"]) == [1, 0]
    assert telling.places(["?", "nothing_known"]) == []
