"""Operators, patterns and wildcards of a path are not part of an argument's name."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolgen.catalog.loaders.path_templates import settle_path

KEPT = {"allowReserved": True}


@pytest.mark.parametrize(
    ("path", "settled", "names"),
    [
        ("/pets/{id}", "/pets/{id}", ["id"]),
        ("/v2/{parent=rooms/*}/beds", "/v2/{parent}/beds", ["parent"]),
        ("/v2/{name}:cancel", "/v2/{name}:cancel", ["name"]),
        ("/x/{id:[0-9]{3}}.{ext:alpha}", "/x/{id}.{ext}", ["id", "ext"]),
        ("/x/{id: \\d+}/{kind?}", "/x/{id}/{kind}", ["id", "kind"]),
        ("/range/{from},{to}", "/range/{from},{to}", ["from", "to"]),
        ("/range/{from,to}", "/range/{from},{to}", ["from", "to"]),
        ("/a{/b,c}", "/a/{b}/{c}", ["b", "c"]),
        ("/a/{open", "/a/{open", []),
        ("/a{#part}", "/a", []),
        ("/a/{id}#Action={x}", "/a/{id}#Action={x}", ["id"]),
    ],
)
def test_templates_become_plain_names(path: str, settled: str, names: list[str]) -> None:
    found = settle_path(path, ())
    assert (found.path, found.names, found.query) == (settled, names, [])


@pytest.mark.parametrize(
    ("path", "wire"),
    [
        ("/f/{+p}", KEPT),
        ("/f/{p*}", KEPT),
        ("/f/{*p}", KEPT),
        ("/f/{p+}", KEPT),
        ("/f/{p:path}", KEPT),
        ("/f/{p:.*}", KEPT),
        ("/f/{p=rooms/*}", KEPT),
        ("/f/{p=**}", KEPT),
        ("/f/{p:int}", None),
        ("/f/{p:3}", None),
        ("/f{.p}", {"style": "label"}),
        ("/f{;p*}", {"style": "matrix", "explode": True}),
    ],
)
def test_operators_say_how_the_value_is_written(path: str, wire: Any) -> None:
    found = settle_path(path, ())
    assert (found.names, found.wire.get("p")) == (["p"], wire)


def test_expressions_of_the_query_leave_the_path() -> None:
    found = settle_path("/search{?q,limit*}", ())
    assert (found.path, found.names, found.query) == ("/search", [], ["q", "limit"])
    behind = settle_path("/search?q={q}{&page}", ["q"])
    assert (behind.path, behind.names, behind.in_query, behind.query) == ("/search?q={q}", [], ["q"], ["page"])


def test_a_colon_marks_a_declared_name_only() -> None:
    assert settle_path("/users/:id/a:b", ["id"]).path == "/users/{id}/a:b"
    assert settle_path("/users/:id", []).path == "/users/:id"


def test_a_declared_name_may_have_any_characters() -> None:
    found = settle_path("/x/{odd*}/{a:b}", ["odd*", "a:b"])
    assert (found.path, found.names, found.wire) == ("/x/{odd*}/{a:b}", ["odd*", "a:b"], {})


@given(st.text("/{}:*+=?&#;.,ab", max_size=20))
def test_no_path_is_refused(path: str) -> None:
    found = settle_path(path, ())
    assert all(f"{{{name}}}" in found.path for name in (*found.names, *found.in_query))
