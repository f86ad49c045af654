"""Which argument values a text gives away."""

from __future__ import annotations

from typing import Any

import pytest

from toolgen.datasets.training_sets.evidence import is_evidenced, unevidenced_values


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("New York", "flights to new york, please"),
        ("Dr. Johnson", "I see dr johnson"),
        (1000, "about $1,000"),
        (2.0, "two tickets"),
        (3, "the third one"),
        ("12th", "on the 12th"),
        ("5 pm", "at 5pm"),
        ("007", "code 7"),
        ("flights", "the next flight"),
        ("2023-09-12", "on September 12th"),
        ("2023-09-12 14:00:00", "12 Sep at 2pm"),
        ("2023-09-12 14:30:00", "12/09/2023 14:30"),
        ("2023-09-12T02:00:00Z", "on 2023.9.12 at 2"),
        ("03/09/2023", "on March 9th 2023"),
        ("09/03/2023", "on March 9th"),
        ("20:30", "around 8:30 pm"),
        ("17:00:00", "at 5pm"),
        (0.2, "con un enganche del 20%"),
        (0.075, "7.5 percent"),
        ("Seattle, WA", "the concert at Seattle"),
        (10, "我想要查看最多10个"),
        ("红星科技", "检索一下红星科技公司"),
        (["a@b.org", "c@d.org"], "to a@b.org and c@d.org"),
        ({"city": "Rome"}, "Rome"),
        (None, "nothing"),
        ("", "nothing"),
    ],
)
def test_a_value_whose_words_are_said_is_evidenced(value: Any, text: str) -> None:
    assert is_evidenced({"x": value}, {}, text)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("New York", "flights to York"),
        (100, "about $1,000"),
        ("2023-09-12", "on September 13th"),
        ("2023-09-12 14:00:00", "on September 12th at 3pm"),
        ("2023-09-12 14:00:00", "12/09/2023 at 3pm"),
        ("2023-09-12 14:00:00", "a table for 9 at 2pm on the 12th"),
        ("2023-13-12", "on the 12th of 2023"),
        ("03/09/2023", "on March 8th 2023"),
        ("20:30", "around 8 pm"),
        ("20:30", "around 7:30 pm"),
        (0.2, "20 litres"),
        (0.2, "30%"),
        ("Seattle, WA", "the concert at Salem"),
        (["a@b.org", "x@d.org"], "to a@b.org"),
    ],
)
def test_a_value_that_is_not_said_is_not(value: Any, text: str) -> None:
    assert not is_evidenced({"x": value}, {}, text)


def test_what_the_documentation_offers_needs_no_evidence() -> None:
    schema = {
        "properties": {"unit": {"enum": ["celsius", "kelvin"]}, "days": {"default": 7}, "all": {"type": "boolean"}}
    }

    assert is_evidenced({"unit": "celsius", "days": 7, "all": True}, schema, "the weather")
    assert not is_evidenced({"unit": "rankine", "days": 8}, schema, "the weather")


def test_values_without_evidence_are_named_by_their_path() -> None:
    arguments = {"to": ["Ann", "Bob"], "mail": {"subject": "Lunch"}, "count": 2}

    assert unevidenced_values(arguments, {}, "write Ann") == ["to[1]", "mail.subject", "count"]
