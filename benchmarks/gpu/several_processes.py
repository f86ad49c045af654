"""6. Several processes: NCCL with one on the card, with two where the driver allows it, and a training that begins on the card
and goes on on the CPU, and the other way round.

`benchmarks/processes.py` compares replicas (DDP), sharded rows and a sharded trunk (FSDP2) with a process that torchrun did not
start. The mixed trainings should have the losses of the one on the card.
"""

from functools import partial
from typing import Any

from card import BENCHMARKS, Session, bfcl, figures_of, index, session, settings

MIXED = {"card": ("card",), "card-cpu": ("card", "cpu"), "cpu-card": ("cpu", "card")}


def processes(run: Session, count: int) -> None:
    words = (index(run), bfcl(run), "-o", f"results/processes-{count}.json", "--processes", count, "--steps", 3)
    words = (*words, *settings("precision=fp32", *run.choose((), ("batch_size=4",))))
    run.command(f"{count} processes", *words, program=(BENCHMARKS / "processes.py",), may_fail=count > 1)


def curve(run: Session, name: str) -> list[dict[str, Any]]:
    return list(figures_of(run.folder / "runs" / name).get("curve", ()))


def train(run: Session, name: str, place: str, *, first: bool) -> None:
    """A training, or its `first` three steps."""
    few = settings(f"steps={run.choose(40, 8)}", "precision=fp32")
    words = ("retrieval", index(run), bfcl(run), "-o", f"runs/{name}", *few)
    card = {} if place == "card" else {"CUDA_VISIBLE_DEVICES": ""}
    run.command(f"{name}, {place}", "train", *words, until=lambda: first and len(curve(run, name)) >= 3, **card)


def losses(run: Session) -> dict[str, Any]:
    return {"losses": {name: [round(one["loss"], 5) for one in curve(run, name)] for name in MIXED}}


if __name__ == "__main__":
    with session("several_processes", __doc__) as run:
        processes(run, 1)
        for name, places in MIXED.items():
            for place in places:
                train(run, name, place, first=place != places[-1])
        run.measure("losses", partial(losses, run))
        processes(run, 2)
