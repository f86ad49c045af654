"""1. Does it run on a card: the tests, each stage in fp32 and in bf16, the quickstart's commands one by one.

`tests/test_devices.py` compares the card itself with the CPU, not an emulated one (`TOOLGEN_TEST_CARD`); the other tests take
a card wherever the product takes one. The curves of a stage in fp32 and in bf16 should lie on each other.
"""

from pathlib import Path

from card import ROOT, Session, bfcl, index, session, settings

PYTEST = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", ROOT)
WORKERS = ("-n", "4", "--dist", "worksteal")


def tests(run: Session) -> None:
    few = run.choose((), ("-k", "calls_are_decoded"))
    card = {"TOOLGEN_TEST_CARD": run.choose("1", "")}
    run.command("tests, devices", ROOT / "tests" / "test_devices.py", *few, program=PYTEST, **card)
    if not run.tiny:
        run.command("tests, without weights", ROOT / "tests", "-m", "not weights", *WORKERS, program=PYTEST)


def precisions(run: Session) -> None:
    few = run.choose(settings("steps=20"), settings("steps=2", "batch_size=8"))
    for stage in run.choose(("memorization", "retrieval", "agent"), ("retrieval",)):
        for precision in ("fp32", "bf16"):
            words = (stage, index(run), bfcl(run), "-o", f"runs/{stage}-{precision}", *few)
            run.command(f"{stage}, {precision}", "train", *words, *settings(f"precision={precision}"))


def quickstart(run: Session) -> None:
    from toolgen.cli.quickstart_plan import Plan
    from toolgen.retrieval import RetrieverSpec

    few = {stage: ("steps=2", "batch_size=8") for stage in ("retrieval", "agent")}
    tiny = Plan(
        folder=Path("quickstart"),
        base=str(run.folder / "base"),
        dataset=run.folder / "data" / "bfcl",
        settings=few,
        retrievers=[RetrieverSpec(method="generative")],
        agent_tasks=1,
    )
    graph = run.choose(Plan(folder=Path("quickstart")), tiny).graph()
    for step in graph.steps:
        prepares = step.group in ("fetch", "catalog")
        run.command(f"quickstart, {step.name}", *graph.arguments(step), prepares=prepares)


if __name__ == "__main__":
    with session("does_it_run", __doc__) as run:
        tests(run)
        precisions(run)
        quickstart(run)
