"""Arguments of functions: texts in annotations, TypedDicts of every kind, defaults that are valid, JSON to the hints' types."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import pathlib
import typing
import uuid
from typing import Annotated, Any, Generic, Literal, NamedTuple, NotRequired, Required, TypedDict, TypeVar, Unpack

import annotated_types
import pytest
from pydantic import BaseModel, ConfigDict, Field, SecretStr
from typing_extensions import Doc

from toolgen.catalog.python.signature import read_signature
from toolgen.catalog.schema import check_schema, schema_errors


class Unit(enum.Enum):
    metric = "metric"
    imperial = "imperial"


class Place(TypedDict):
    city: Annotated[str, "Its name"]


class Options(Place, total=False):
    days: Required[int]
    unit: Unit
    inner: Nested


class Trip(TypedDict):
    stops: list[Annotated[str, "A town"]]


class Nested(TypedDict):
    depth: NotRequired[int]
    again: NotRequired[Nested]


T = TypeVar("T")


class Box(TypedDict, Generic[T]):
    value: T
    others: NotRequired[list[Annotated[T, "One of them"]]]
    inner: NotRequired[Box[T]]


@dataclasses.dataclass
class Point:
    lat: Annotated[float, Doc("Degrees north")]
    options: Options | None = None


class Pair(NamedTuple):
    first: int
    second: Options


class Model(BaseModel):
    text: Annotated[str, "What to look for"]


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)
    day: datetime.date
    tags: set[str]


def schema_of(function: Any, notes: list[str] | None = None) -> dict[str, Any]:
    notes = [] if notes is None else notes
    schema = read_signature(function, notes.append).schema({}, notes.append)
    check_schema(schema)
    return schema


# --- texts --------------------------------------------------------------------------------------------------------


def test_texts_in_annotations_describe_arguments() -> None:
    def f(
        plain: Annotated[str, "A  plain\ntext"],
        doc: Annotated[str, Doc("PEP 727")] = "x",
        optional: Annotated[int, "Inside"] | None = None,
        field: Annotated[int, Field(description="pydantic's")] = 1,
        value: int = Field(2, ge=1, description="as a default"),
        bounds: Annotated[int, annotated_types.Ge(1), "Bounded"] = 3,
        other: Annotated[int, object()] = 4,
    ) -> None:
        pass

    properties = schema_of(f)["properties"]
    texts = {name: inner.get("description") for name, inner in properties.items()}
    assert texts == {
        "plain": "A plain text",
        "doc": "PEP 727",
        "optional": "Inside",
        "field": "pydantic's",
        "value": "as a default",
        "bounds": "Bounded",
        "other": None,
    }
    assert properties["value"] == {"type": "integer", "minimum": 1, "default": 2, "description": "as a default"}
    assert properties["bounds"]["minimum"] == 1


def test_texts_describe_what_lists_maps_and_alternatives_hold() -> None:
    def f(
        cities: Annotated[list[Annotated[str, "A city"]], "Where"],
        prices: dict[Annotated[str, "A currency"], Annotated[float, "In euros"]] | None,
        modes: dict[Annotated[Literal["a", "b"], "A mode"], int],
        place: tuple[Annotated[float, "Degrees north"], Annotated[float, "Degrees east"]],
        who: Annotated[int, "A number"] | Annotated[str, "A name"],
        trip: Trip,
        own: list[Annotated[str, Field(description="pydantic's"), "not this one"]],
        **more: list[Annotated[str, "A tag"]],
    ) -> list[Annotated[int, "A result"]]:
        return []

    signature = read_signature(f, print)
    schema = signature.schema({}, print)
    check_schema(schema)
    found = schema["properties"]
    assert (found["cities"]["description"], found["cities"]["items"]["description"]) == ("Where", "A city")
    assert found["prices"]["anyOf"][0]["additionalProperties"] == {"type": "number", "description": "In euros"}
    assert found["prices"]["anyOf"][0]["propertyNames"] == {"description": "A currency"}
    assert found["modes"]["propertyNames"] == {"enum": ["a", "b"], "description": "A mode"}
    assert [one["description"] for one in found["place"]["prefixItems"]] == ["Degrees north", "Degrees east"]
    assert [one["description"] for one in found["who"]["anyOf"]] == ["A number", "A name"]
    assert "description" not in found["who"]
    assert schema["$defs"]["Trip"]["properties"]["stops"]["items"]["description"] == "A town"
    assert found["own"]["items"]["description"] == "pydantic's"
    assert schema["additionalProperties"]["items"]["description"] == "A tag"
    result = signature.result_schema(print)
    assert result and result["items"]["description"] == "A result"


def test_texts_describe_the_fields_of_classes() -> None:
    def f(point: Point, place: Place, model: Model) -> None:
        pass

    definitions = schema_of(f)["$defs"]
    texts = [definitions[name]["properties"][key]["description"] for name, key in
             (("Point", "lat"), ("Place", "city"), ("Model", "text"))]  # fmt: skip
    assert texts == ["Degrees north", "Its name", "What to look for"]


def test_an_annotations_text_goes_before_the_docstrings() -> None:
    def f(a: Annotated[int, "here"], b: int) -> None:
        pass

    schema = read_signature(f, print).schema({"a": "there", "b": "there"}, print)
    assert [inner["description"] for inner in schema["properties"].values()] == ["here", "there"]


# --- TypedDict ----------------------------------------------------------------------------------------------------

VALID = [{"city": "Oslo", "days": 1}, {"city": "Oslo", "days": 1, "unit": "metric", "inner": {"again": {"depth": 1}}}]
INVALID = [{}, {"city": "Oslo"}, {"days": 1}, {"city": "Oslo", "days": "x"}, {"city": "Oslo", "days": 1, "unit": "K"},
           {"city": "Oslo", "days": 1, "inner": {"again": {"depth": "x"}}}]  # fmt: skip


@pytest.mark.parametrize(
    ("hint", "wrap"),
    [
        (Options, lambda value: value),
        (list[Options], lambda value: [value]),
        (Options | None, lambda value: value),
        (dict[str, list[Options]], lambda value: {"x": [value]}),
        (Point, lambda value: {"lat": 1, "options": value}),
        (Pair, lambda value: [1, value]),
    ],
)
def test_a_typed_dict_of_typing_keeps_its_keys_wherever_it_stands(hint: Any, wrap: Any) -> None:
    def f(it: Any) -> None:
        pass

    f.__annotations__["it"] = hint
    signature = read_signature(f, pytest.fail)
    schema, convert = signature.schema({}, pytest.fail), signature.converter()
    for value in VALID:
        assert not schema_errors({"it": wrap(value)}, schema)
        convert({"it": wrap(value)})
    for wrong in INVALID:
        assert schema_errors({"it": wrap(wrong)}, schema)
        with pytest.raises(ValueError, match=r"^it\."):
            convert({"it": wrap(wrong)})


def test_keyword_arguments_of_a_typed_dict_are_arguments_of_their_own() -> None:
    def f(**more: Unpack[Options]) -> None:
        pass

    schema = schema_of(f)
    assert list(schema["properties"]) == ["city", "days", "unit", "inner"]
    assert (schema["required"], schema["additionalProperties"]) == (["city", "days"], False)
    assert schema["properties"]["city"] == {"type": "string", "description": "Its name"}
    assert read_signature(f, pytest.fail).converter()({"city": "Oslo", "days": "1", "unit": "metric"}) == {
        "city": "Oslo", "days": 1, "unit": Unit.metric}  # fmt: skip


def test_a_generic_typed_dict_has_the_types_that_it_is_given() -> None:
    def f(numbers: Box[int], words: dict[str, Box[str]] | None = None) -> None:
        pass

    def g(**more: Unpack[Box[int]]) -> None:
        pass

    good = {"value": 1, "others": [2], "inner": {"value": 3}}
    assert not schema_errors({"numbers": good, "words": {"a": {"value": "x"}}}, schema_of(f))
    assert not schema_errors(good, schema_of(g))
    for wrong in ({"value": "x"}, {}, {"value": 1, "others": ["x"]}, {"value": 1, "inner": {"value": "x"}}):
        assert schema_errors({"numbers": wrong}, schema_of(f)) and schema_errors(wrong, schema_of(g))
    with pytest.raises(ValueError, match=r"^words\.a\.value: "):
        read_signature(f, pytest.fail).converter()({"numbers": good, "words": {"a": {"value": 1}}})


def test_further_arguments_are_of_the_type_of_the_hint() -> None:
    def f(**more: int) -> None:
        pass

    assert schema_of(f)["additionalProperties"] == {"type": "integer"}
    convert = read_signature(f, pytest.fail).converter()
    assert convert({"x": "3"}) == {"x": 3}
    with pytest.raises(ValueError, match="x: Input should be a valid integer"):
        convert({"x": "three"})


# --- defaults -----------------------------------------------------------------------------------------------------


def test_defaults_are_valid_under_their_own_schema_or_left_out_with_a_note() -> None:
    def f(
        unit: Unit = Unit.metric,
        day: datetime.date = datetime.date(2026, 1, 2),
        some: tuple[int, ...] = (1, 2),
        point: Point = Point(1.0),  # noqa: B008
        where: pathlib.Path = pathlib.Path("a"),
        how: Literal["up"] = None,  # type: ignore[assignment]  # noqa: RUF013
        number: int = None,  # type: ignore[assignment]  # noqa: RUF013
        limit: float = float("inf"),
        any_object: Any = object(),  # noqa: B008
        huge: int = 10**400,
        odd: str = "\ud800",
        made: list[int] = Field(default_factory=list),  # noqa: B008
    ) -> None:
        pass

    notes: list[str] = []
    schema = schema_of(f, notes)
    defaults = {name: inner["default"] for name, inner in schema["properties"].items() if "default" in inner}
    assert defaults == {"unit": "metric", "day": "2026-01-02", "some": [1, 2], "where": "a",
                        "point": {"lat": 1.0, "options": None}}  # fmt: skip
    assert not schema_errors(defaults, schema) and "required" not in schema
    assert [line.partition(":")[0] for line in notes] == ["how", "number", "limit", "any_object", "huge", "odd"]


def test_a_default_that_pydantic_holds_is_given_to_the_function() -> None:
    def f(a: int = Field(5, ge=1), b: list[int] = Field(default_factory=list), c: int = Field(ge=1)) -> Any:  # noqa: B008
        return a, b, c

    signature = read_signature(f, pytest.fail)
    assert signature.schema({}, pytest.fail)["required"] == ["c"]
    assert f(**signature.converter()({"c": 2})) == (5, [], 2)


PIN = SecretStr("1234")


def test_the_default_of_a_secret_is_left_out_also_where_it_is_masked() -> None:
    def f(pin: SecretStr = PIN, empty: Annotated[str, Field(json_schema_extra={"format": "password"})] = "") -> None:
        pass

    notes: list[str] = []
    properties = schema_of(f, notes)["properties"]
    assert "default" not in properties["pin"] and properties["empty"]["default"] == ""
    assert notes == ["the default of 'pin' looks like a secret; left out"]


def test_strict_types_take_what_json_has_for_them() -> None:
    def f(it: Strict) -> Any:
        return it

    convert = read_signature(f, pytest.fail).converter()
    assert convert({"it": {"day": "2026-01-02", "tags": ["a"]}})["it"].day == datetime.date(2026, 1, 2)
    with pytest.raises(ValueError, match=r"^it\.day: "):
        convert({"it": {"day": 5, "tags": []}})
    with pytest.raises(ValueError, match=r"^it: no JSON: object$"):
        convert({"it": object()})


# --- types --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hint", "given", "expected"),
    [
        (datetime.datetime, "2026-11-22T10:00:00", datetime.datetime(2026, 11, 22, 10)),
        (uuid.UUID, "12345678-1234-5678-1234-567812345678", uuid.UUID("12345678-1234-5678-1234-567812345678")),
        (pathlib.Path, "a/b", pathlib.Path("a/b")),
        (decimal.Decimal, "1.50", decimal.Decimal("1.50")),
        (bytes, "abc", b"abc"),
        (Unit, "metric", Unit.metric),
        (set[int], [1, 2], {1, 2}),
        (Point, {"lat": 1}, Point(1.0)),
        (Model, {"text": "x"}, Model(text="x")),
        (typing.Optional[Literal["a"]], None, None),  # noqa: UP045
        (typing.Union[int, str], "x", "x"),  # noqa: UP007
        (int | None, 3, 3),
    ],
)
def test_json_becomes_the_type_of_the_hint_and_is_valid_under_its_schema(hint: Any, given: Any, expected: Any) -> None:
    def f(it: Any) -> None:
        pass

    f.__annotations__["it"] = hint
    signature = read_signature(f, pytest.fail)
    assert not schema_errors({"it": given}, signature.schema({}, pytest.fail))
    assert signature.converter()({"it": given}) == {"it": expected}


def test_the_result_is_described_as_it_is_written_in_json() -> None:
    async def f() -> decimal.Decimal:
        return decimal.Decimal(1)

    schema = read_signature(f, pytest.fail).result_schema(pytest.fail)
    assert schema is not None and schema["type"] == "string"
