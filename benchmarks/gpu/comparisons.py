"""3. The published comparisons with full budgets: files of `experiments/`, all layers trained, eight times the steps, three
seeds. What the method gives when time is not the limit.

PUBLISHED holds `toollens`, `seal-tools` and `stabletoolbench/test_instruction`. An experiment that was stopped goes on.
"""

import json
import shlex
from pathlib import Path
from typing import Any

from card import ON_CARD, ROOT, Session, session, settings

FILES = ("toollens", "bfcl", "seal-tools", "stabletoolbench")
SEEDS = (0, 1, 2)
TIMES = 8


def with_budget(run: Session, step: str, seed: int) -> str:
    """A step of an experiment with its seed and, if it is a stage of training, with the full budget."""
    from toolgen.training import STAGES, resolve_config

    words = shlex.split(step)
    if words[:2] == ["train", "encoder"]:
        words += ["--seed", str(seed)]
    elif words[0] == "train" and words[1] in STAGES:
        given = [words[place + 1] for place, word in enumerate(words) if word == "--set"]
        recipe = Path(words[words.index("--recipe") + 1]) if "--recipe" in words else None
        steps = TIMES * resolve_config(STAGES[words[1]], recipe, given).steps
        words += settings("frozen_share=0", f"seed={seed}", f"steps={run.choose(steps, 1)}", *run.choose(ON_CARD, ()))
    return shlex.join(words)


def experiment(run: Session, name: str, seed: int) -> dict[str, Any]:
    """An experiment with its paths in this run's folder."""
    from toolgen.foreign.yaml_core import read_yaml

    text = json.dumps(read_yaml(ROOT / "experiments" / f"{name}.yaml"))
    moved = {
        "runs/": f"runs/full-{seed}-",
        "results/": f"results/full-{seed}-",
        "recipes/": f"{ROOT}/recipes/",
        "beir:": f"beir:{run.data}/",
        "sealtools:": f"sealtools:{run.data}/",
        "toolbench:": f"toolbench:{run.data}/stabletoolbench/",
        **run.choose({}, {"toolgen-135m": "base"}),
    }
    for old, new in moved.items():
        text = text.replace(old, new)
    content: dict[str, Any] = json.loads(text)
    return content | {"steps": [with_budget(run, step, seed) for step in content["steps"]]}


if __name__ == "__main__":
    with session("comparisons", __doc__) as run:
        for seed in SEEDS[: run.choose(None, 1)]:
            for name in run.choose(FILES, ("bfcl-base",)):
                content = experiment(run, name, seed)
                for words in map(shlex.split, content["steps"]):
                    if words[0] == "catalog":
                        run.command(f"{name}, {words[-1]}", *words, prepares=True)
                file = run.folder / f"{name}-{seed}.yaml"
                file.write_text(json.dumps(content), encoding="utf-8")
                run.command(f"{name}, seed {seed}", "experiment", file)
