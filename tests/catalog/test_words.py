"""Words: what terms a text is made of, what of a request says something, and which words tell tools apart."""

from __future__ import annotations

import pytest

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
        ("canción 天气 мой2", ["canción", "天气", "мой", "2"]),
        ("the of a", []),
        ("", []),
    ],
)
def test_words_are_parts_of_identifiers_in_any_script(text: str, terms: list[str]) -> None:
    assert words(text) == terms


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
