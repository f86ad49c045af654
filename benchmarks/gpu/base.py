"""2. The shipped base: `toolgen pretrain` over all catalogs and conversations, and cold starts with what comes of it.

The recipe for CPUs first, so that its place on the learning curve is known, then the defaults with ever more steps (each a
schedule of its own, so that their ends can be compared), then another seed. PUBLISHED holds a folder for each training set and
benchmark; near copies of the benchmarks' requests are left out. `bases/NAME/difference.safetensors` is small enough to be kept.
"""

from typing import Any

from card import ROOT, Session, session, settings

COLD = {
    "bfcl": ("bfcl:", "dev"),
    "seal-tools": ("sealtools:{}/seal-tools", "dev"),
    "toollens": ("beir:{}/toollens", "dev"),
    "stabletoolbench": ("toolbench:{}/stabletoolbench/test_instruction", "test"),
}
WAYS = {"model": ("generative",), "model_and_bm25": ("generative", "bm25")}
PLANS = {
    "cpu-recipe": ["--recipe", str(ROOT / "recipes" / "pretraining" / "cpu.yaml")],
    "steps-150": settings("steps=150"),
    "steps-500": settings("steps=500"),
    "steps-1500": [],
    "seed-1": settings("seed=1"),
}
TINY = ("steps=2", "requests=16", "replay_texts=2", "replay_tokens=8", "rank=2")


def catalogs(run: Session) -> list[str]:
    """A dataset a training set, with requests for tools that none asks for and with conversations, both by rules."""
    from toolgen.datasets.training_sets.registry import TRAINING_SETS

    if run.tiny:
        return ["data/bfcl"]
    for name, (source, _) in COLD.items():
        run.command(name, "catalog", "build", source.format(run.data), "-o", f"data/{name}", prepares=True)
    apart = [part for name in COLD for part in ("--apart-from", f"data/{name}")]
    shipped = [name for name, one in TRAINING_SETS.items() if one.share == "ship" and (run.data / name).is_dir()]
    made = {name: ("mix", run.data, "--set", name, *apart) for name in shipped}
    made["openapi"] = ("build", "openapi:", "--include", "provider:[A-D]*")
    found = []
    for name, words in made.items():
        last = f"data/{name}"
        run.command(name, "catalog", *words, "-o", last, prepares=True)
        for added, how in (("queries", ("--only-unasked",)), ("conversations", ("--count", "20000"))):
            words = ("catalog", added, last, "-o", f"{last}-{added}", *how)
            run.command(f"{name}, {added}", *words, prepares=True, may_fail=True)  # where there is nothing to add
            last = f"{last}-{added}" if (run.folder / f"{last}-{added}").exists() else last
        found.append(last)
    return found


def cold_start(run: Session, plan: str, name: str, split: str) -> dict[str, Any]:
    """What an index by a base finds."""
    from cold_start import quality

    from toolgen.cli.index import indexed
    from toolgen.datasets import load_dataset

    dataset = load_dataset(run.folder / "data" / name)
    made = indexed(dataset.catalog, str(run.folder / "bases" / plan), fit=False)
    return quality(made, dataset, split, WAYS)  # type: ignore[no-any-return]


if __name__ == "__main__":
    with session("base", __doc__) as run:
        learned = catalogs(run)
        tiny = run.choose([], ["--base", "base", "--encoder", "encoder", *settings(*TINY)])
        for plan in list(PLANS)[: run.choose(None, 1)]:
            run.command(f"pretrain {plan}", "pretrain", *learned, "-o", f"bases/{plan}", *PLANS[plan], *tiny)
            for name in list(COLD)[: run.choose(None, 1)]:
                run.measure(f"{plan} on {name}", lambda p=plan, n=name: cold_start(run, p, n, COLD[n][1]))
