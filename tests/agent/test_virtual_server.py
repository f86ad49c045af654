"""StableToolBench's virtual server, against a small one that speaks as its source does."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from tests.loopback import QuietHandler, serving

from toolgen.agent import ScriptedPolicy, VirtualServerEnvironment, run_agent
from toolgen.catalog import Catalog, Tool
from toolgen.datasets import Task
from toolgen.errors import UsageError

ASKED: list[dict[str, Any]] = []
FIELDS = {"category", "tool_name", "api_name", "tool_input", "strip", "toolbench_key"}
CACHE = {
    ("Weather", "rain_world", "is_id", "{'is_from': 'Oslo'}"): {"error": "", "response": "No rain é."},
    ("Weather", "rain_world", "is_id", "{'is_from': 'Rome'}"): {"error": "API not working error...", "response": ""},
    ("Weather", "rain_world", "is_id", "{'is_from': 'odd'}"): ["neither"],
}


class Virtual(QuietHandler):
    """Finds an answer by category, tool, API and the text of the parsed input; 422 for a field too few, as FastAPI does."""

    def do_POST(self) -> None:
        info = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        ASKED.append(info)
        if self.path != "/virtual" or info.keys() != FIELDS or not all(isinstance(one, str) for one in info.values()):
            return self._send(422, {"detail": "field required"})
        given = json.loads(info["tool_input"])
        if given == {"is_from": "slow"}:
            time.sleep(1.0)
        missing = {"error": "Failed to generate fake response", "response": ""}
        self._send(200, CACHE.get((info["category"], info["tool_name"], info["api_name"], str(given)), missing))

    def _send(self, status: int, answer: Any) -> None:
        with suppress(OSError):  # the client has gone
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with serving(Virtual) as address:
        yield address


SCHEMA = {"type": "object", "properties": {"from": {"type": "string"}}, "required": ["from"]}
RAIN = Tool(id="rain", provider="Rain - World!", name="ID", category="Weather", parameters=SCHEMA)
CATALOG = Catalog([RAIN, Tool(id="bare", provider="p", name="n")])


def test_a_call_is_one_request_in_toolbenchs_spelling_and_its_answer_is_read_as_it_is(address: str) -> None:
    environment = VirtualServerEnvironment(CATALOG, f"{address}/virtual", private=True, key="secret")
    assert environment.tools == ("rain",)
    ASKED.clear()
    trajectory = run_agent(ScriptedPolicy([("rain", {"from": "Oslo"})]), environment, Task.from_text("Rain?"))
    assert json.loads(trajectory.messages[2]["content"]) == {"error": "", "response": "No rain é."}
    assert ASKED == [
        {
            "category": "Weather",
            "tool_name": "rain_world",
            "api_name": "is_id",
            "tool_input": '{"is_from": "Oslo"}',
            "strip": "",
            "toolbench_key": "secret",
        }
    ]


@pytest.mark.parametrize(
    ("city", "status", "text"),
    [
        ("Rome", "error", "API not working error..."),
        ("Bonn", "error", "Failed to generate fake response"),
        ("odd", "error", "expected error and response"),
        ("slow", "timeout", "no answer within 0.3 seconds"),
    ],
)
def test_what_goes_wrong_is_a_result_that_the_model_reads(
    address: str, monkeypatch: pytest.MonkeyPatch, city: str, status: str, text: str
) -> None:
    monkeypatch.setattr("toolgen.foreign.web.TIMEOUT_SECONDS", 0.1)
    environment = VirtualServerEnvironment(CATALOG, f"{address}/virtual", private=True)
    result = environment.call("rain", {"from": city}, within=0.3 if city == "slow" else 10)
    assert result.status == status and text in result.content


def test_a_key_has_no_space_around_it_and_is_not_shown_where_no_header_can_hold_it(address: str) -> None:
    ASKED.clear()
    VirtualServerEnvironment(CATALOG, f"{address}/virtual", private=True, key=" s3cret\r").call(
        "rain", {"from": "Oslo"}
    )
    assert ASKED[0]["toolbench_key"] == "s3cret"
    for key in ("s3cret\rx", "s3cret\u2019"):
        with pytest.raises(UsageError, match=r"TOOLBENCH_KEY.* has a control character") as raised:
            VirtualServerEnvironment(CATALOG, address, key=key)
        assert "s3cret" not in str(raised.value)


def test_calls_that_are_not_valid_are_not_sent_and_the_address_is_guarded(address: str) -> None:
    ASKED.clear()
    environment = VirtualServerEnvironment(CATALOG, f"{address}/virtual", private=True)
    assert "invalid arguments" in environment.call("rain", {}).content
    assert environment.call("bare", {}).is_error
    guarded = VirtualServerEnvironment(CATALOG, f"{address}/virtual").call("rain", {"from": "Oslo"})
    assert guarded.is_error and "no public address" in guarded.content and not ASKED
    assert "HTTP 422" in VirtualServerEnvironment(CATALOG, address, private=True).call("rain", {"from": "Oslo"}).content
    with pytest.raises(UsageError, match="give one such as http"):
        VirtualServerEnvironment(CATALOG, "localhost")
    with pytest.raises(UsageError, match="category"):
        VirtualServerEnvironment(Catalog([Tool(id="bare", provider="p", name="n")]), address)
