"""`toolgen catalog mix`: what is written and told, and what is refused."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from tests.cli.conftest import Invoke

from toolgen.datasets import load_dataset


def clinc(folder: Path, *texts: str) -> Path:
    data = {"train": [["my balance", "balance"]], "oos_train": [[text, "oos"] for text in texts]}
    (folder / "clinc150").mkdir(parents=True)
    (folder / "clinc150" / "data_full.json.gz").write_bytes(gzip.compress(json.dumps(data).encode()))
    return folder


def test_a_mix_is_a_dataset_that_tells_its_licences(toolgen: Invoke, tmp_path: Path) -> None:
    sets = clinc(tmp_path / "sets", "why is the sky blue", "how old is the sun")

    result = toolgen("catalog", "mix", sets, "-o", tmp_path / "mix", "--json")

    assert result.exit_code == 0, result.output
    (row,) = json.loads(result.stdout)["sets"]
    assert (row["set"], row["licence"], row["share"], row["no tool fits"]) == ("clinc150", "CC-BY-3.0", "ship", 2)
    made = load_dataset(tmp_path / "mix")
    assert made.licence == "CC-BY-3.0 (clinc150)"
    assert made.source == "clinc150: clinc/oos-eval, ship"
    assert len(made.queries["train"]) == 2
    shown = toolgen("catalog", "mix", sets, "-o", tmp_path / "mix", "--set", "clinc150")
    assert "clinc150" in shown.stdout and "all" in shown.stdout


def test_requests_of_another_dataset_are_kept_apart(toolgen: Invoke, dataset_folder: Path, tmp_path: Path) -> None:
    test_request = load_dataset(dataset_folder).queries["test"][0].text
    text = f"{test_request} {test_request}" if len(test_request.split()) < 4 else test_request
    sets = clinc(tmp_path / "sets", text, "why is the sky blue")

    result = toolgen("catalog", "mix", sets, "-o", tmp_path / "mix", "--apart-from", dataset_folder, "--json")

    assert json.loads(result.stdout)["unseen_requests"] > 0
    assert [query.text for query in load_dataset(tmp_path / "mix").queries["train"]] == ["why is the sky blue"]


def test_an_unknown_set_is_one_line_and_writes_nothing(toolgen: Invoke, tmp_path: Path) -> None:
    result = toolgen("catalog", "mix", tmp_path, "-o", tmp_path / "mix", "--set", "clinc15")

    assert result.exit_code == 2
    assert "did you mean 'clinc150'" in " ".join(result.output.split())
    assert not (tmp_path / "mix").exists()


@pytest.mark.parametrize(
    ("content", "chosen", "says"),
    [
        (None, ["--set", "clinc150"], "has no folder clinc150"),
        (None, [], "holds no training set"),
        (b"{", ["--set", "clinc150"], "cannot read"),
        (gzip.compress(b"{", mtime=0), [], "not JSON"),
        (gzip.compress(b"[1]", mtime=0), [], "is not in the form of clinc150"),
    ],
)
def test_a_set_that_is_missing_or_damaged_is_one_line_and_the_code_of_bad_input(
    toolgen: Invoke, tmp_path: Path, content: bytes | None, chosen: list[str], says: str
) -> None:
    if content is not None:
        (clinc(tmp_path / "sets") / "clinc150" / "data_full.json.gz").write_bytes(content)
    result = toolgen("catalog", "mix", tmp_path / "sets", "-o", tmp_path / "mix", *chosen)

    assert result.exit_code == 1
    assert says in " ".join(result.stderr.split()) and "unexpected" not in result.stderr
    assert not (tmp_path / "mix").exists()
