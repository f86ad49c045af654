"""A tiny simulated system laid out as the BFCL package is, and tasks in it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from toolgen.agent.environments.bfcl import SOURCE_FOLDER
from toolgen.catalog import Catalog, Tool
from toolgen.datasets import Call, Task, Turn
from toolgen.datasets.payloads import BfclSystems

TICKETS = """
from copy import deepcopy

from bfcl_eval.eval_checker.multi_turn_eval.func_source_code.long_context import EXTENSION


class TicketAPI:
    def __init__(self):
        self.tickets = {}
        self._log = []

    def _load_scenario(self, scenario, long_context=False):
        self.tickets = deepcopy(scenario.get("tickets", {}))
        if long_context:
            self.tickets.update(EXTENSION)

    def create_ticket(self, title, priority=1):
        number = str(len(self.tickets) + 1)
        self.tickets[number] = {"title": title, "priority": priority}
        return {"id": number}

    def get_ticket(self, ticket_id):
        if ticket_id not in self.tickets:
            return {"error": "no such ticket"}
        return self.tickets[ticket_id]

    def close_ticket(self, ticket_id):
        del self.tickets[ticket_id]

    def titles(self):
        return [ticket["title"] for ticket in self.tickets.values()]
"""


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("package")
    folder = root / "bfcl_eval" / SOURCE_FOLDER
    folder.mkdir(parents=True)
    (folder / "ticket_api.py").write_text(TICKETS)
    (folder / "long_context.py").write_text('EXTENSION = {"99": {"title": "long", "priority": 9}}')
    return root


def ticket_tool(name: str, **properties: str) -> Tool:
    return Tool(
        id=f"TicketAPI&&{name}",
        provider="TicketAPI",
        name=name,
        parameters={
            "type": "object",
            "properties": {key: {"type": kind} for key, kind in properties.items()},
            "required": list(properties)[:1],
        },
        endpoint={"kind": "simulated", "environment": "bfcl", "class": "TicketAPI", "method": name},
    )


@pytest.fixture(scope="session")
def catalog() -> Catalog:
    return Catalog(
        [
            ticket_tool("create_ticket", title="string", priority="integer"),
            ticket_tool("get_ticket", ticket_id="string"),
            ticket_tool("close_ticket", ticket_id="string"),
            ticket_tool("titles"),
            Tool(id="other&&tool", provider="other", name="tool"),
        ]
    )


@pytest.fixture
def task() -> Task:
    """Two answerable turns around one that is not."""
    create = Call(tool="TicketAPI&&create_ticket", arguments={"priority": 2, "title": "rain"})
    close = Call(tool="TicketAPI&&close_ticket", arguments={"ticket_id": "1"})
    return Task(
        id="multi_turn_base_0",
        turns=(
            Turn(text="Open a ticket about rain.", calls=(create,)),
            Turn(text="Close it.", calls=()),
            Turn(text="And now?", calls=(close,)),
        ),
        state={"TicketAPI": {"tickets": {"1": {"title": "old", "priority": 5}}}},
        payload=BfclSystems(classes=("TicketAPI",)),
        category="multi_turn_base",
    )


def holding_back(task: Task, tool: str, until: int) -> Task:
    """The task with a tool that is offered only from this turn on."""
    turns = [replace(turn, held_back=(tool,) if place < until else ()) for place, turn in enumerate(task.turns)]
    return replace(task, turns=tuple(turns))
