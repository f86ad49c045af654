"""Walks over executable worlds, as tasks to train on: calls that really succeed there, turned back into a user's requests.

A walk begins in a world's own state, draws values from it and from what earlier calls came back with, and keeps the calls
that work. Five kinds: one call, several, a detail that is missing at first, a call that fails and is set right, and a call that
needs a value that only an earlier one tells. `record_trajectories` carries them out again and writes the results down. After
APIGen-MT (arXiv 2504.03601) and Magnet (2503.07826), whose language models are replaced by rules. Knows no benchmark.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import yaml

from toolgen.agent.environments.protocol import Environment, ToolResult, World
from toolgen.agent.environments.registry import Packages, environment_for
from toolgen.catalog.catalog import Catalog
from toolgen.catalog.schema import schema_errors
from toolgen.catalog.tool import Tool, canonical_json
from toolgen.datasets.conversations import drawn_tasks
from toolgen.datasets.folder import Dataset
from toolgen.datasets.messages import RESULT_LIMIT
from toolgen.datasets.payloads import world_of
from toolgen.datasets.phrasing import specified, spoken
from toolgen.datasets.plausible import value_for, words_of
from toolgen.datasets.query import Call
from toolgen.datasets.synthetic import LONGEST
from toolgen.datasets.task import Task, Turn
from toolgen.datasets.training_sets.evidence import is_evidenced
from toolgen.datasets.trajectory import Trajectory

REPAIRED = "repaired"
KINDS: Mapping[str, float] = {"one": 0.25, "several": 0.2, "missing": 0.15, REPAIRED: 0.15, "needs result": 0.25}
"""Share of each kind."""
WALKS = 8
"""How many walks are begun for a kind of conversation, at most."""
TRIES = 12
"""How many calls are tried for one that is wanted."""
_KNOWN = 0.9  # how often a value is taken from the world where it has one

_ASKING = ("Can you ", "I need to ", "Please ")
_THEN = ("Then {} with the {} from that.", "Then {}; take the {} that you find.", "With the {1} from that, {0}.")
_CORRECTED = ("Sorry, I meant {} {}.", "The {} should be {}.", "My mistake, the {} is {}.")
_TOLD = ("The {} is {}.", "It is {1}.", "{1}")


def walk_conversations(
    catalog: Catalog, worlds: Sequence[Task], packages: Packages, count: int, seed: int
) -> Iterator[Task]:
    """Up to `count` tasks that begin where one of the `worlds` does, the same for the same seed; no two begin with the same
    words. Fewer, where the worlds give no more."""

    def draw(number: int, random: Random) -> Task | None:
        world = random.choice(worlds)
        (kind,) = random.choices(list(KINDS), list(KINDS.values()))
        turns = _turns(kind, world, catalog, packages, random)
        return replace(world, id=f"walked/{seed}/{number}", turns=turns, category=kind) if turns else None

    return drawn_tasks(count, seed, draw)


def _turns(kind: str, world: Task, catalog: Catalog, packages: Packages, random: Random) -> tuple[Turn, ...]:
    """The turns of a conversation of this kind; none where a few walks in the world gave none."""
    with closing(environment_for(world, catalog, packages)) as environment:
        assert isinstance(environment, World), "worlds_of gives no others"
        for _ in range(WALKS):
            environment.reset(world)
            if turns := _Walk(catalog, environment, _Values.of(environment.facts()), random).turns(kind):
                return turns
    return ()


def worlds_of(dataset: Dataset) -> list[Task]:
    """The worlds in which a dataset's training tasks begin, or where it has none, all its tasks; each once, without what was
    asked for there."""
    tasks = dataset.tasks["train"] or [task for tasks in dataset.tasks.values() for task in tasks]
    found: dict[str, Task] = {}
    for task in tasks:
        if payload := world_of(task.payload):
            begun = Task(id="", turns=(Turn(text="-"),), state=task.state, payload=payload, synthetic=True)
            found.setdefault(canonical_json(begun.to_dict()), begun)
    return list(found.values())


def went_as_walked(task: Task, trajectory: Trajectory) -> bool:
    """Whether a recorded walk has the failures that it should have."""
    return trajectory.outcome.tool_errors == (task.category == REPAIRED)


@dataclass
class _Values:
    """What a world has, by what it is called: `order id` to the ids of its orders."""

    by_label: dict[str, list[Any]] = field(default_factory=dict)

    @classmethod
    def of(cls, data: Any) -> _Values:
        """Those of data as JSON has it."""
        found = cls()
        found._add("", data)
        return found

    def get(self, parameter: str) -> list[Any]:
        """The values that a parameter of this name could take."""
        return self.by_label.get(_label(parameter), [])

    def _add(self, label: str, data: Any) -> None:
        if isinstance(data, Mapping):
            if len({type(one) for one in data.values()}) == 1 and all(
                isinstance(one, Mapping) for one in data.values()
            ):
                self._note(f"{label} id", data)  # a collection by its members' ids
                self._note(f"{label} name", data)
            for key, value in data.items():
                self._add(_label(str(key)), value)
        elif isinstance(data, list):
            if all(isinstance(one, str) for one in data):
                self._note(f"{label} id", data)
            for value in data:
                self._add(label, value)
        elif isinstance(data, (str, int, float)) and not isinstance(data, bool) and data not in ("", "None"):
            self._note(label, [data])

    def _note(self, label: str, values: Any) -> None:
        known = self.by_label.setdefault(label, [])
        known += [value for value in values if value not in known]


def _label(name: str) -> str:
    words = words_of(name).split()
    return " ".join(
        word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word for word in words
    )


@dataclass(frozen=True)
class _Step:
    """A call that was made, with a text that asks for it."""

    tool: Tool
    arguments: Mapping[str, Any]
    text: str
    result: ToolResult

    @property
    def call(self) -> Call:
        return Call(tool=self.tool.id, arguments=self.arguments)


@dataclass
class _Walk:
    """One walk in an environment that has been reset."""

    catalog: Catalog
    environment: Environment
    values: _Values
    random: Random

    def turns(self, kind: str) -> tuple[Turn, ...]:
        """The turns of a conversation of this kind; none where the world gives none."""
        first = self._step()
        if first is None:
            return ()
        if kind == "one":
            return (Turn(text=first.text, calls=(first.call,)),)
        if kind == "several":
            return self._several(first)
        if kind == "missing":
            return self._missing(first)
        return self._repaired(first) if kind == REPAIRED else self._needs_result(first)

    def _several(self, first: _Step) -> tuple[Turn, ...]:
        steps = [first]
        for _ in range(self.random.randint(1, 2)):
            if (more := self._step()) and more.call not in [step.call for step in steps]:
                steps.append(more)
        text = " ".join([first.text, *(f"Also: {step.text}" for step in steps[1:])])
        return (Turn(text=text, calls=tuple(step.call for step in steps)),) if len(steps) > 1 else ()

    def _missing(self, step: _Step) -> tuple[Turn, ...]:
        name = self._detail(step)
        if not name:
            return ()
        rest = {key: value for key, value in step.arguments.items() if key != name}
        text, value = specified(step.tool, rest, self.random)[0], step.arguments[name]
        if is_evidenced({name: value}, {}, text):
            return ()
        told = self.random.choice(_TOLD).format(words_of(name), spoken(value))
        return (Turn(text=text, calls=()), Turn(text=told, calls=(step.call,)))

    def _repaired(self, step: _Step) -> tuple[Turn, ...]:
        """The call with another value, which fails, before the right one."""
        name = self._detail(step)
        if not name or not isinstance(right := step.arguments[name], str):
            return ()
        wrong = _altered(right, self.random)
        arguments = {**step.arguments, name: wrong}
        text = specified(step.tool, arguments, self.random)[0]
        if wrong == right or not is_evidenced(arguments, {}, text) or not self._call(step.tool, arguments).is_error:
            return ()
        corrected = self.random.choice(_CORRECTED).format(words_of(name), spoken(right))
        failed = Call(tool=step.tool.id, arguments=arguments)
        return (Turn(text=text, calls=(failed,)), Turn(text=corrected, calls=(step.call,)))

    def _needs_result(self, first: _Step) -> tuple[Turn, ...]:
        """Another call, one of whose values stands in the first one's result and is not said."""
        shown = first.result.content[:RESULT_LIMIT]
        found = _Values.of(_data(first.result.content))
        for tool in self._shuffled():
            for name in tool.required:
                values = found.get(name)
                if values and _tells(shown, values[0]) and not _says(first.text, values[0]):
                    label = f"{'first ' if len(values) > 1 else ''}{words_of(name)}"
                    if turns := self._then(first, tool, name, values[0], label):
                        return turns
        return ()

    def _then(self, first: _Step, tool: Tool, name: str, value: Any, label: str) -> tuple[Turn, ...]:
        rest = self._arguments(tool, without=name)
        if rest is None or schema_errors({**rest, name: value}, tool.parameters):
            return ()
        order = next(text for text in specified(tool, rest, self.random) if not text.startswith(_ASKING)).rstrip(".?")
        order = order[:1].lower() + order[1:]
        text = f"{first.text} {self.random.choice(_THEN).format(order, label)}"
        arguments = {key: value if key == name else rest[key] for key in tool.properties if key in (*rest, name)}
        if len(text) > LONGEST or _says(text, value) or not is_evidenced(rest, tool.parameters, text):
            return ()
        if self._call(tool, arguments).is_error:
            return ()
        return (Turn(text=text, calls=(first.call, Call(tool=tool.id, arguments=arguments))),)

    def _step(self) -> _Step | None:
        """A call that works, with all its values said; None where none was found."""
        for tool in self._shuffled()[:TRIES]:
            arguments = self._arguments(tool)
            if arguments is None or schema_errors(arguments, tool.parameters):
                continue
            text = _sentence(specified(tool, arguments, self.random)[0])
            if len(text) <= LONGEST and is_evidenced(arguments, tool.parameters, text):
                result = self._call(tool, arguments)
                if not result.is_error:
                    return _Step(tool, arguments, text, result)
        return None

    def _arguments(self, tool: Tool, without: str = "") -> dict[str, Any] | None:
        """Values for the required parameters, or for one where none is; None where nothing can be guessed."""
        found = {}
        names = [*tool.required] or [name for name in tool.properties if self.values.get(name)][:1]
        for name in names:
            known = self.values.get(name)
            if name == without:
                continue
            schema = tool.properties.get(name, {})
            fitting = [value for value in known if not schema_errors(value, schema)]
            taken = fitting and self.random.random() < _KNOWN
            found[name] = self.random.choice(fitting) if taken else value_for(name, schema, self.random)
            if found[name] is None:
                return None
        return found

    def _call(self, tool: Tool, arguments: Mapping[str, Any]) -> ToolResult:
        return self.environment.call(tool.id, arguments)

    def _shuffled(self) -> list[Tool]:
        offered = [self.catalog.get(tool_id) for tool_id in self.environment.tools]
        return self.random.sample(offered, len(offered))

    def _detail(self, step: _Step) -> str:
        """A value that a person would say apart; empty where there is none."""
        able = [name for name in step.tool.required if _is_detail(step.arguments.get(name))]
        return self.random.choice(able) if able else ""


def _sentence(text: str) -> str:
    return text if text.endswith((".", "?")) else f"{text}."


def _is_detail(value: Any) -> bool:
    return isinstance(value, (str, int, float)) and not isinstance(value, bool)


def _altered(text: str, random: Random) -> str:
    """The text with two neighbours swapped, or a character doubled: a slip of the finger."""
    place = random.randrange(len(text)) if text else 0
    swapped = text[:place] + text[place + 1 : place + 2] + text[place : place + 1] + text[place + 2 :]
    return swapped if swapped != text else text[:place] + text[place : place + 1] + text[place:]


def _data(content: str) -> Any:
    """A result as data: JSON or YAML, whichever it is; None for other text."""
    try:
        return yaml.safe_load(content)
    except (yaml.YAMLError, ValueError, RecursionError):
        return None


def _tells(content: str, value: Any) -> bool:
    """Whether a result shows a value that nobody would guess."""
    return len(str(value)) > 2 and str(value) in content


def _says(text: str, value: Any) -> bool:
    return is_evidenced({"": value}, {}, text)
