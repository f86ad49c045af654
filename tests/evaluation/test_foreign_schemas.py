"""Schemas from anyone, from the grammar to the report: nothing outside of them is read, and they take no time."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.auditing import outside_events

from toolgen.agent import Budget, DryRunEnvironment, GenerativePolicy, GivenTools, ScriptedPolicy, run_agent
from toolgen.catalog import Catalog, Tool
from toolgen.checkpoint import Checkpoint
from toolgen.datasets import Task
from toolgen.decoding import DecodingOptions
from toolgen.evaluation.validity import count_validity
from toolgen.testing import tiny_checkpoint


@pytest.fixture(scope="module")
def listener() -> Iterator[socket.socket]:
    """What would hear of a connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server


def tool(name: str, schema: Any) -> Tool:
    parameters = {"type": "object", "properties": {"x": schema}, "required": ["x"], "additionalProperties": False}
    return Tool(id=f"foreign&&{name}", provider="foreign", name=name, description="Foreign.", parameters=parameters)


def foreign_tools(listener: socket.socket, secret: Path) -> list[Tool]:
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    schemas: list[Any] = [
        {"$ref": f"{address}/x.json"},
        {"$ref": secret.as_uri()},
        {"$dynamicRef": f"{address}/x.json#x"},
        {"$id": f"{address}/base/", "$ref": "x.json"},
        {"$id": secret.parent.as_uri() + "/", "$ref": secret.name},
        {"$schema": f"{address}/dialect", "type": "integer"},
        {"$schema": "http://json-schema.org/draft-04/schema#", "id": f"{address}/", "$ref": "x.json"},
        {"allOf": [{"$ref": f"{address}/a"}, {"type": "string"}]},
        {"const": {"$ref": f"{address}/x.json"}},
        {"type": "string", "pattern": "(a+)+$"},
        {"type": "string", "format": "uri", "contentMediaType": f"{address}/"},
    ]
    return [tool(f"t{place}", schema) for place, schema in enumerate(schemas)]


def carried_out(checkpoint: Checkpoint, tool_id: str) -> str:
    """All that is done with a schema: arguments are decoded and carried out dry, and those of others are judged."""
    task = Task.from_text("Do it.")
    options = DecodingOptions(argument_tokens=40)
    policy = GivenTools(GenerativePolicy(checkpoint, options=options), [tool_id])
    said = []
    for one in (policy, ScriptedPolicy([(tool_id, {"x": "a" * 40 + "!"})])):
        trajectory = run_agent(one, DryRunEnvironment(checkpoint.catalog), task, budget=Budget(steps=2))
        said += [str(message.get("content")) for message in trajectory.messages]
        count_validity(trajectory, checkpoint.catalog)
    return "\n".join(said)


def test_nothing_outside_of_a_schema_is_read_from_decoding_to_evaluation(
    listener: socket.socket, tmp_path: Path
) -> None:
    secret = tmp_path / "secret.json"
    secret.write_text('{"const": "what stands in the file"}')
    tools = foreign_tools(listener, secret)
    checkpoint = tiny_checkpoint(
        catalog=Catalog([*tools, tool("plain", {"type": "string"})]), max_position_embeddings=2048
    )
    carried_out(checkpoint, "foreign&&plain")  # what is imported late is imported here
    start = time.monotonic()
    with outside_events() as seen:
        said = [carried_out(checkpoint, one.id) for one in tools]
    assert seen == [] and time.monotonic() - start < 20
    assert not any("what stands" in text for text in said)
    with pytest.raises(BlockingIOError):
        listener.accept()
