"""5. Speed: training beside a padded `Trainer`, compiled or not, searches and tasks at once, and many rows.

`training`, `engine` and `scale` are the benchmarks of the folder above. Steps with and without `torch.compile` are timed after
two that are not; their tokens are those of the examples.
"""

from functools import partial
from itertools import islice
from typing import Any

from card import BENCHMARKS, ON_CARD, Session, agent, bfcl, index, session, settings


def step_speed(run: Session, compiled: bool) -> dict[str, Any]:
    """Of retrieval training."""
    from stage_runs import open_run, peak_memory_gib, tokens

    from toolgen.datasets import load_dataset

    given = run.choose(ON_CARD, ("precision=fp32", "batch_size=4"))
    stage = open_run(run.folder / index(run), load_dataset(run.folder / bfcl(run)), "retrieval", given)
    if compiled:
        stage.trainable.trunk.compile(dynamic=True, backend=run.choose("inductor", "eager"))
    *first, batch = islice(stage.batches, 3)
    for one in first:
        stage.run.step(one)
    rates = [tokens(batch) / stage.seconds(partial(stage.run.step, batch)) for _ in range(run.choose(8, 1))]
    return {"tokens_per_second": round(max(rates), 1), "peak_allocated_gib": round(peak_memory_gib(), 3)}


def benchmark(run: Session, step: str, name: str, *arguments: object) -> None:
    output = f"results/{step.replace(', ', '-')}.json"
    run.command(step, *arguments, "-o", output, program=(BENCHMARKS / f"{name}.py",))


if __name__ == "__main__":
    with session("speed", __doc__) as run:
        data, rows, trained = bfcl(run), index(run), agent(run)
        full = [*settings(*ON_CARD), "--stages", "memorization", "retrieval", "agent"]
        few = ["--stages", "retrieval", "--batch", "8", "--rounds", "1"]
        benchmark(run, "training", "training", rows, data, *run.choose(full, few))
        for name, compiled in (("plain", False), ("compiled", True)):
            run.measure(name, partial(step_speed, run, compiled))
        many = ("--searches", "1024", "--tasks", "256", "--at-once", "1", "16", "256")
        few = ["--searches", "2", "--tasks", "1", "--at-once", "1", "--rounds", "1"]
        for precision, how in (("fp32", ()), ("bf16", ("--bf16",))):
            benchmark(run, f"engine, {precision}", "engine", trained, data, *how, *run.choose(many, few))
        sizes = run.choose(("125000", "1000000"), ("100",))
        benchmark(run, "rows", "scale", "--tools", *sizes, "--steps", "product", "loss", "--clock", "wall")
