"""`toolgen tools`: a checkpoint that changes in place, by one process at a time, or stays as it was."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import Invoke
from torch import Tensor
from transformers import PreTrainedModel

from toolgen.catalog import Catalog
from toolgen.checkpoint import Checkpoint, read_metadata
from toolgen.datasets import Dataset, Query, save_dataset
from toolgen.fetching import parts
from toolgen.inference import row_maker
from toolgen.inference.passes import last_states
from toolgen.inference.row_maker import RowMaker, write_rows
from toolgen.testing import tiny_catalog, tiny_checkpoint

PETS = '''
def feed(cat: str) -> str:
    """Feed the cat of a neighbor."""

def walk(dog: str, minutes: int = 10) -> str:
    """Walk a dog in the park."""
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny_checkpoint(max_position_embeddings=1024).save(tmp_path / "ckpt")
    return tmp_path / "ckpt"


@pytest.fixture
def pets(tmp_path: Path) -> str:
    (tmp_path / "pets.py").write_text(PETS)
    return f"python:{tmp_path / 'pets.py'}"


def answer(result: Any) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def files(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_tools_are_added_listed_changed_and_removed(toolgen: Invoke, folder: Path, pets: str, tmp_path: Path) -> None:
    added = answer(toolgen("tools", "add", folder, pets, "--json"))
    assert (added["added"], added["ids"]) == (2, ["pets&&feed", "pets&&walk"])
    assert added["tools"] == len(tiny_catalog()) + 2 and added["free_tokens"] == 64
    assert added["catalog_hash"] == read_metadata(folder)["catalog_hash"]
    found = answer(toolgen("search", folder, "walk the dog", "-k", 99, "--json"))["tools"]
    assert {*found} - {"no_tool"} == {*tiny_catalog().ids, *added["ids"]}

    listed = answer(toolgen("tools", "list", folder, "--include", "provider:pets", "--json"))["tools"]
    ids = {one["tool"]: one["token_ids"] for one in listed}
    assert [one["row"] for one in listed] == ["documentation"] * 2 and not any(one["changed"] for one in listed)
    assert "pets&&walk" in toolgen("tools", "list", folder).stdout

    (tmp_path / "pets.py").write_text(PETS.replace("in the park", "by the sea"))
    updated = answer(toolgen("tools", "update", folder, pets, "--json"))
    assert (updated["updated"], updated["unchanged"], updated["ids"]) == (1, 1, ["pets&&walk"])
    again = answer(toolgen("tools", "update", folder, pets, "--json"))
    assert again["updated"] == 0 and again["catalog_hash"] == updated["catalog_hash"]

    removed = answer(toolgen("tools", "remove", folder, "pets&&feed", "--include", "provider:mail", "--json"))
    assert removed["removed"] == len(removed["ids"]) > 1
    left = answer(toolgen("tools", "list", folder, "--json"))["tools"]
    assert not {*removed["ids"]} & {one["tool"] for one in left}
    assert {one["tool"]: one["token_ids"] for one in left}["pets&&walk"] == ids["pets&&walk"]
    found = answer(toolgen("search", folder, "feed the cat", "-k", 99, "--json"))["tools"]
    assert not {*removed["ids"]} & {*found}


def test_a_checkpoint_is_reduced_to_the_tools_of_a_dataset(toolgen: Invoke, folder: Path, tmp_path: Path) -> None:
    wanted = Catalog(tiny_catalog()[:3])
    save_dataset(Dataset(name="d", version="1", source="", licence="", catalog=wanted), tmp_path / "data")
    rest = tiny_catalog().ids[3:]
    told = answer(
        toolgen("tools", "remove", folder, "--not-in", tmp_path / "data", "--exclude", f"id:^{rest[0]}$", "--json")
    )
    assert told["ids"] == list(rest[1:])
    told = answer(toolgen("tools", "remove", folder, "--not-in", tmp_path / "data", "--json"))
    assert told["ids"] == [rest[0]] and Checkpoint.load(folder).catalog.ids == wanted.ids
    assert answer(toolgen("tools", "remove", folder, "--not-in", tmp_path / "data", "--json"))["removed"] == 0


def test_requests_of_the_source_are_learned_by_the_new_tools(toolgen: Invoke, folder: Path, tmp_path: Path) -> None:
    late = Catalog(tiny_checkpoint().catalog[:3])
    Checkpoint.load(folder).without_tools(late.ids).save(folder)
    queries = [Query(id=tool.id, text=f"wish for {tool.name}", tools=(tool.id,)) for tool in late]
    queries.append(Query(id="other", text="mail", tools=()))
    data = Dataset(name="d", version="1", source="", licence="", catalog=late, queries={"train": tuple(queries)})
    save_dataset(data, tmp_path / "data")
    told = answer(toolgen("tools", "add", folder, tmp_path / "data", "--json"))
    assert (told["added"], told["requests"]) == (3, 3)
    listed = answer(toolgen("tools", "list", folder, "--json"))["tools"]
    assert {one["tool"] for one in listed if one["row"] == "requests"} == {*late.ids}


def test_both_new_and_known_tools_come_with_update(toolgen: Invoke, folder: Path, pets: str, tmp_path: Path) -> None:
    answer(toolgen("tools", "add", folder, pets, "--include", "feed", "--json"))
    (tmp_path / "pets.py").write_text(PETS.replace("of a neighbor", "of a friend"))
    told = answer(toolgen("tools", "add", folder, pets, "--update", "--json"))
    assert (told["added"], told["updated"], told["unchanged"]) == (1, 1, 0)
    assert told["ids"] == ["pets&&walk", "pets&&feed"]
    assert "of a friend" in Checkpoint.load(folder).catalog.get("pets&&feed").description
    told = answer(toolgen("tools", "add", folder, pets, "--update", "--json"))
    assert (told["added"], told["updated"], told["unchanged"], told["ids"]) == (0, 0, 2, [])
    assert ": 2 unchanged;" in " ".join(toolgen("tools", "add", folder, pets, "--update").stdout.split())


def fast_api(folder: Path, host: str, **paths: str) -> str:
    """The description of a service that names itself as many do."""
    operations = {f"/{name}": {"get": {"operationId": name, "summary": text}} for name, text in paths.items()}
    servers = {"servers": [{"url": f"https://{host}"}]} if host else {}
    folder.mkdir(exist_ok=True)
    document = {"openapi": "3.1.0", "info": {"title": "FastAPI"}, **servers, "paths": operations}
    (folder / "openapi.json").write_text(json.dumps(document))
    return f"openapi:{folder / 'openapi.json'}"


def test_a_tool_of_another_service_does_not_take_the_place_of_one_of_the_same_id(
    toolgen: Invoke, folder: Path, tmp_path: Path
) -> None:
    here, there = (fast_api(tmp_path / name, f"{name}.example", get=f"Items of {name}.") for name in "ab")
    assert answer(toolgen("tools", "add", folder, here, "--json"))["added"] == 1
    told = toolgen("tools", "add", folder, there)
    assert told.exit_code == 1 and "give `--prefix` if they are another service's" in " ".join(told.stderr.split())
    before = files(folder)
    for command in (["update"], ["add", "--update"]):
        refused = toolgen("tools", command[0], folder, there, *command[1:])
        said = " ".join(refused.stderr.split())
        assert refused.exit_code == 2 and "toolgen tools add --prefix TEXT" in said and "say --moved" in said
        assert "'FastAPI&&get' is called at https://b.example in the sources, at https://a.example in the" in said
    assert files(folder) == before
    assert answer(toolgen("tools", "add", folder, there, "--prefix", "b.", "--json"))["ids"] == ["b.FastAPI&&get"]
    assert answer(toolgen("tools", "update", folder, there, "--moved", "--json"))["ids"] == ["FastAPI&&get"]
    assert Checkpoint.load(folder).catalog.get("FastAPI&&get").origin == "https://b.example"
    needless = toolgen("tools", "add", folder, there, "--prefix", "c.", "--moved")
    assert needless.exit_code == 2 and "--moved is for --update" in " ".join(needless.stderr.split())


def test_of_two_tools_of_one_name_none_is_changed_by_a_source_that_has_one(
    toolgen: Invoke, folder: Path, tmp_path: Path
) -> None:
    here, there = (fast_api(tmp_path / name, "", get=f"Items of {name}.") for name in "ab")
    assert answer(toolgen("tools", "add", folder, here, there, "--json"))["ids"] == ["FastAPI&&get", "FastAPI&&get#2"]
    refused = toolgen("tools", "update", folder, there)
    said = " ".join(refused.stderr.split())
    assert refused.exit_code == 2 and "has 'FastAPI&&get' and 'FastAPI&&get#2', and nothing says which" in said
    assert answer(toolgen("tools", "update", folder, here, there, "--json"))["unchanged"] == 2


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["add", "PETS", "PETS"], 1, "are in the checkpoint already, for instance 'pets&&feed'"),
        (["add", "python:nothing.py"], 1, "no tool could be loaded"),
        (["add", "PETS", "--include", "horse"], 2, "none of the 2 tools is left by --include horse"),
        (["update", "PETS", "--include", "walk"], 2, "has none of these 1 tools; see `toolgen tools add`"),
        (["remove", "pets&&fed"], 2, "did you mean 'pets&&feed'"),
        (["remove"], 2, "name the tools to remove"),
        (["remove", "--include", "provider:*"], 2, "it needs at least one"),
        (
            ["remove", "--include", "provider:mail", "--exclude", "provider:mail"],
            2,
            "is left by --include and --exclude",
        ),
    ],
)
def test_what_cannot_be_done_leaves_the_folder_as_it_was(
    toolgen: Invoke, folder: Path, pets: str, arguments: list[str], code: int, says: str
) -> None:
    command, *rest = [pets if one == "PETS" else one for one in arguments]
    assert toolgen("tools", "add", folder, pets, "--include", "feed").exit_code == 0
    before = files(folder)
    result = toolgen("tools", command, folder, *rest)
    assert (result.exit_code, says in " ".join(result.stderr.split())) == (code, True), result.stderr
    assert files(folder) == before


def test_a_lossy_source_is_told_and_refused_when_asked(toolgen: Invoke, folder: Path, tmp_path: Path) -> None:
    functions = [
        {"name": "good", "description": "", "parameters": {"type": "object", "properties": {}}},
        {"description": "without a name"},
    ]
    (tmp_path / "tools.json").write_text(json.dumps(functions))
    source, before = f"openai:{tmp_path / 'tools.json'}", files(folder)
    refused = toolgen("tools", "add", folder, source, "--strict")
    assert refused.exit_code == 1 and "1 lost under --strict; nothing was written" in refused.stderr
    assert files(folder) == before
    told = toolgen("tools", "add", folder, source, "--json")
    assert answer(told)["added"] == 1
    said = " ".join(told.stderr.split())
    assert "1 lost" in said and "1 of them have no description" in said
    assert [report["lost"] for report in answer(told)["reports"]] == [1]


def test_notes_are_told_and_arguments_that_are_lost_count_under_strict(
    toolgen: Invoke, folder: Path, tmp_path: Path
) -> None:
    noted = {"name": "n", "in": "query", "required": "yes", "schema": {"type": "string"}}
    operation = {"operationId": "get", "parameters": [noted, {"$ref": "other.yaml#/P"}]}
    document = {"openapi": "3.1.0", "info": {"title": "T"}, "paths": {"/x": {"get": operation}}}
    (tmp_path / "api.json").write_text(json.dumps(document))
    source = f"openapi:{tmp_path / 'api.json'}"
    refused = toolgen("tools", "add", folder, source, "--strict")
    assert refused.exit_code == 1 and "1 lost under --strict; nothing was written" in refused.stderr
    for command in ("add", "update"):
        told = toolgen("tools", command, folder, source, "--json")
        said = " ".join(told.stderr.split())
        assert "1 tools, 1 lost" in said and "is not followed without --allow-references" in said
        assert "note: api.json GET /x: the parameter 'n' has 'yes' for 'required'" in said
        (report,) = answer(told)["reports"]
        assert (report["lost"], len(report["notes"])) == (1, 2)


def test_a_dataset_has_no_rows_to_change(toolgen: Invoke, dataset_folder: Path, pets: str) -> None:
    for command in (["add", dataset_folder, pets], ["list", dataset_folder], ["remove", dataset_folder, "x"]):
        result = toolgen("tools", *command)
        assert result.exit_code == 2 and "is a dataset; this needs a checkpoint" in " ".join(result.stderr.split())


def start(folder: Path, source: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "toolgen.cli", "tools", "add", str(folder), source, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def test_two_who_add_at_once_both_succeed(folder: Path, tmp_path: Path) -> None:
    for name in ("cats", "dogs"):
        (tmp_path / f"{name}.py").write_text(PETS)
    adding = [start(folder, f"python:{tmp_path / name}.py") for name in ("cats", "dogs")]
    for one in adding:
        out, err = one.communicate(timeout=300)
        assert one.returncode == 0, err
        assert json.loads(out)["added"] == 2
    loaded = Checkpoint.load(folder)
    assert {"cats&&feed", "cats&&walk", "dogs&&feed", "dogs&&walk"} < {*loaded.catalog.ids}
    assert len(loaded.catalog) == len(tiny_catalog()) + 4


KILLED_AFTER_FOUR = """
import os, signal
from toolgen.cli.app import main
from toolgen.fetching import parts
from toolgen.inference import row_maker

parts.PART, read, last_states = 2, [], row_maker.last_states

def states(model, prompts):
    read.extend(prompts)
    if len(read) > 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return last_states(model, prompts)

row_maker.last_states = states
main()
"""


def test_adding_goes_on_where_it_was_killed(toolgen: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint, cache = tiny_checkpoint(max_position_embeddings=1024), tmp_path / "cache"
    write_rows(checkpoint, RowMaker(checkpoint.model.config.hidden_size))
    for name in ("ckpt", "other"):
        checkpoint.save(tmp_path / name)
    source = tmp_path / "many.py"
    source.write_text("".join(f'def f{i}():\n    """Counts to {10**i} and back."""\n' for i in range(7)))
    monkeypatch.setenv("TOOLGEN_CACHE", str(cache))
    command = [sys.executable, "-c", KILLED_AFTER_FOUR, "tools", "add", str(tmp_path / "ckpt"), f"python:{source}"]
    killed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert len(Checkpoint.load(tmp_path / "ckpt").catalog) == len(tiny_catalog())

    read: list[Sequence[int]] = []

    def states(model: PreTrainedModel, prompts: Sequence[Sequence[int]]) -> Tensor:
        read.extend(prompts)
        return last_states(model, prompts)

    monkeypatch.setattr(parts, "PART", 2)
    monkeypatch.setattr(row_maker, "last_states", states)
    assert answer(toolgen("tools", "add", tmp_path / "ckpt", f"python:{source}", "--json"))["added"] == 7
    assert len(read) == 3 and not [*cache.rglob("*.npy")]
    assert answer(toolgen("tools", "add", tmp_path / "other", f"python:{source}", "--json"))["added"] == 7
    assert len(read) == 3 + 7 and files(tmp_path / "ckpt") == files(tmp_path / "other")


def test_who_is_killed_half_way_leaves_the_folder_whole(folder: Path, pets: str) -> None:
    before = read_metadata(folder)["catalog_hash"]
    process = start(folder, pets)
    new = folder.with_name(f".{folder.name}.new")
    for _ in range(3000):
        if new.exists() or process.poll() is not None:
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    loaded = Checkpoint.load(folder)
    assert read_metadata(folder)["catalog_hash"] == before or "pets&&feed" in loaded.catalog
    again = start(folder, pets)
    _, err = again.communicate(timeout=300)
    assert again.returncode == 0 or "are in the checkpoint already" in err, err
    assert "pets&&feed" in Checkpoint.load(folder).catalog
