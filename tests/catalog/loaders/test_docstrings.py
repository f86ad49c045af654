"""The three docstring styles say the same."""

from __future__ import annotations

import pytest

from toolgen.catalog.loaders.docstrings import parse_docstring

GOOGLE = """Moves a file.

    Keeps its
    name.

    Args:
        source (str): Where it is,
            without a path.
        to: Where it goes: a folder.

    Returns:
        dict: what: happened
    """

NUMPY = """Moves a file.

    Keeps its
    name.

    Parameters
    ----------
    source : str
        Where it is,
        without a path.
    to : str, optional
        Where it goes: a folder.

    Returns
    -------
    dict
        what: happened
    """

REST = """Moves a file.

    Keeps its
    name.

    :param str source: Where it is,
        without a path.
    :param to: Where it goes: a folder.
    :type to: str
    :returns: what: happened
    :rtype: dict
    """


@pytest.mark.parametrize("docstring", [GOOGLE, NUMPY, REST])
def test_every_style_gives_description_and_parameters(docstring: str) -> None:
    parsed = parse_docstring(docstring)
    assert parsed.description == "Moves a file.\nKeeps its name."
    assert parsed.parameters == {"source": "Where it is, without a path.", "to": "Where it goes: a folder."}


@pytest.mark.parametrize("docstring", [None, "", "   \n  "])
def test_no_docstring_gives_nothing(docstring: str | None) -> None:
    parsed = parse_docstring(docstring)
    assert (parsed.description, parsed.parameters) == ("", {})


def test_a_text_without_sections_is_all_description() -> None:
    assert (
        parse_docstring("Note: this is\nno section.\n\n- x: nor this").description
        == "Note: this is no section.\n- x: nor this"
    )


def test_names_that_share_a_line_share_the_text() -> None:
    parsed = parse_docstring("S.\n\nParameters\n----------\na, b : int\n    Both.\n*args\n    Rest.\n")
    assert parsed.parameters == {"a": "Both.", "b": "Both.", "args": "Rest."}


def test_a_section_that_cannot_be_read_is_not_lost() -> None:
    parsed = parse_docstring("Adds.\n\nArgs:\n    a line without a colon\n")
    assert "a line without a colon" in parsed.description and parsed.parameters == {}


def test_attributes_of_a_class_are_no_parameters() -> None:
    parsed = parse_docstring("A point.\n\nArgs:\n    x: Right.\n\nAttributes:\n    size: How far.\n")
    assert parsed.parameters == {"x": "Right."}


def test_brackets_and_colons_in_types_belong_to_the_type() -> None:
    google = """Does (it): now.

    Args:
        a (dict[str, list[int]]): Text a: more.
        b (dict(str: int), optional): Text b.
        c (Literal["x: y", "z)"]): Text c.
            see (this): too.
        **rest (Callable[[int], str]): Text rest.
        d: See (this): too.

    Returns:
        dict[str, int]: The result.
    """
    parsed = parse_docstring(google)
    assert parsed.description == "Does (it): now."
    assert parsed.parameters == {
        "a": "Text a: more.",
        "b": "Text b.",
        "c": "Text c. see (this): too.",
        "rest": "Text rest.",
        "d": "See (this): too.",
    }
    rest = """Does it.

    :param dict[str, list[int]] a: Text a: more.
    :param b: Text b.
    :type b: dict[str, int]
    :param Callable[[int], str] c: Text c.
    :returns: The result.
    """
    assert parse_docstring(rest).parameters == {"a": "Text a: more.", "b": "Text b.", "c": "Text c."}
