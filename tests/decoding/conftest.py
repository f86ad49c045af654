"""A tiny checkpoint with random weights: what decoding guarantees must not depend on what a model has learned."""

from __future__ import annotations

import pytest

from toolgen.catalog import Catalog, Tool
from toolgen.checkpoint import Checkpoint
from toolgen.testing import tiny_checkpoint

WEATHER = Tool(
    id="weather&&forecast",
    provider="weather",
    name="forecast",
    description="Forecast for a city.",
    parameters={
        "type": "object",
        "properties": {
            "city": {"type": "string", "maxLength": 12},
            "days": {"type": "integer", "minimum": 1, "maximum": 9},
            "unit": {"enum": ["metric", "imperial"]},
            "tags": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["city", "unit"],
    },
)
FREE = Tool(
    id="store&&put",
    provider="store",
    name="put",
    description="Stores anything.",
    parameters={"type": "object", "properties": {"value": {}, "note": {"type": "string"}}, "required": ["note"]},
)
PING = Tool(id="net&&ping", provider="net", name="ping", description="Answers.")
UNIQUE = Tool(
    id="set&&make",
    provider="set",
    name="make",
    description="Makes a set.",
    parameters={
        "type": "object",
        "properties": {"items": {"type": "array", "items": {"enum": ["a", "b"]}, "uniqueItems": True, "maxItems": 4}},
        "required": ["items"],
    },
)


def random_checkpoint(seed: int) -> Checkpoint:
    catalog = Catalog([WEATHER, FREE, PING, UNIQUE])
    # The usual spread of 0.02 leaves all tokens about equally likely; a model with opinions breaks rules more often.
    return tiny_checkpoint(catalog=catalog, seed=seed, initializer_range=1.0, max_position_embeddings=2048)


@pytest.fixture(scope="session")
def checkpoints() -> list[Checkpoint]:
    return [random_checkpoint(seed) for seed in range(4)]


@pytest.fixture(scope="session")
def checkpoint(checkpoints: list[Checkpoint]) -> Checkpoint:
    return checkpoints[0]
