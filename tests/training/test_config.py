"""Settings: defaults, then a recipe, then --set; what does not fit is one line that helps."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from toolgen.errors import InputError, ToolgenError, UsageError
from toolgen.training import STAGES, Stage, StageConfig
from toolgen.training.config import resolve_config as resolve


def resolve_config(stage: str, recipe: Path | None = None, settings: Iterable[str] = ()) -> StageConfig:
    return resolve(STAGES[stage], recipe, settings)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text("steps: 7\nlearning_rate: 1e-4\nshares:\n  name: 0.25\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES)
def test_the_defaults_of_every_stage_are_valid_and_name_sources_that_it_has(stage: Stage) -> None:
    config = resolve(stage)
    assert config.shares and config.shares.keys() <= stage.sources.keys()
    assert stage.defaults.items() <= config.model_dump().items()


def test_a_setting_beats_the_recipe_and_the_recipe_beats_the_default(recipe: Path) -> None:
    config = resolve_config("memorization", recipe, ["steps=9", "seed = 3"])
    assert (config.steps, config.seed, config.batch_size) == (9, 3, StageConfig().batch_size)
    assert config.learning_rate == 1e-4


def test_one_teacher_need_not_be_a_list() -> None:
    assert resolve_config("retrieval", None, ["teacher=bm25"]).teacher == ["bm25"]
    assert resolve_config("retrieval", None, ["teacher=[bm25, dense]"]).teacher == ["bm25", "dense"]


def test_shares_are_changed_one_by_one(recipe: Path) -> None:
    default = resolve_config("memorization").shares
    assert resolve_config("memorization", recipe, ["shares.recall=0.5"]).shares == default | {
        "name": 0.25,
        "recall": 0.5,
    }


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("step=3", r"--set step=3: there is no setting 'step'; did you mean 'steps'\?"),
        ("lerning_rate=1", "did you mean 'learning_rate'"),
        ("qqqq=1", "known keys: steps, "),
        ("steps", "expected key=value, for instance --set steps=200"),
        ("micro_batch_tokens=7", "micro_batch_tokens = 7: .*'auto' or .*greater than or equal to 16"),
        ("shares=3", "shares = 3"),
        ("steps=many", "memorization stage: steps = 'many'"),
        ("steps=0", "memorization stage: steps = 0: .*greater than or equal to 1"),
        ("steps=1.5", "memorization stage: steps = 1.5"),
        ("precision=fp8", "memorization stage: precision = 'fp8'"),
        ("shares.name=lots", "shares.name = 'lots'"),
        ("steps.more=1", "'steps' is one value and has no part 'more'"),
        ("steps={a: 1}", "steps = "),
        ("shares=[", "the value: neither JSON nor YAML"),
        ("shares=3", "shares = 3"),
    ],
)
def test_a_setting_that_does_not_fit_is_one_line_that_helps(setting: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        resolve_config("memorization", None, [setting])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("teacher_encoder=e", r"'e' is read by the teacher toolretriever alone, and teacher = \['bm25'\]; add it"),
        ("teacher_checkpoint=c", "teacher_checkpoint = 'c' is read by the teacher generative alone"),
        ("join=0.5", "retrieval stage: join = 0.5 is about conversations, and this stage reads none"),
        ("token_weights={value: 2}", "token_weights = {'value': 2.0} is about conversations"),
    ],
)
def test_a_setting_that_the_stage_does_not_read_is_refused(setting: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        resolve_config("retrieval", None, ["teacher=bm25", setting])


def test_what_a_teacher_reads_is_taken_with_the_teacher() -> None:
    config = resolve_config("retrieval", None, ["teacher=[bm25, toolretriever]", "teacher_encoder=e"])
    assert config.teacher_encoder == "e"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("stepz: 3", "recipe.yaml: there is no setting 'stepz'; did you mean 'steps'"),
        ("- steps", "should map keys to values; it holds a list"),
        ("steps: [", "neither JSON nor YAML"),
        ("1: 2", "there is no setting '1'"),
    ],
)
def test_a_recipe_that_does_not_fit_names_the_file_and_the_key(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ToolgenError, match=message) as caught:
        resolve_config("memorization", path)
    assert "\n" not in str(caught.value)


def test_a_recipe_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no file .*nothing\.yaml"):
        resolve_config("memorization", tmp_path / "nothing.yaml")


def test_an_empty_recipe_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    assert resolve_config("agent", tmp_path / "empty.yaml") == resolve_config("agent")


def test_rows_stay_where_the_checkpoint_has_them_of_documentation_unless_it_is_said_otherwise() -> None:
    for name in ("retrieval", "agent"):
        usual, staying = (resolve(STAGES[name], rows_stay=stay) for stay in (False, True))
        assert usual.row_learning_rate > 0 == staying.row_learning_rate and (name == "agent" or staying.blend == 1)
        given = resolve(STAGES[name], None, ["row_learning_rate=2e-4"], rows_stay=True)
        assert given.row_learning_rate == 2e-4
