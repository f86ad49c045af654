"""What the scripts of this folder share: steps within a time limit, and a result that is written as they end.

    python benchmarks/gpu/NAME.py --output FOLDER --minutes M [--data PUBLISHED] [--prepare] [--tiny]

    FOLDER/NAME.jsonl   a line at each start (card, versions, bf16 peak), then a line a step; `peak_gib` is of the whole card
    FOLDER/NAME.log     what the commands said

A step whose output is in FOLDER, or whose line is in the result, is not done again. When the time is up, a command has a minute
to save; the same script goes on from there. `--prepare` does beforehand what needs no card. `--tiny` takes the same path with
the model of `toolgen.testing` on the CPU, which says that a script starts, and nothing else. Knows no step.
"""

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, TypeVar

BENCHMARKS = Path(__file__).resolve().parents[1]
ROOT = BENCHMARKS.parent
sys.path.append(str(BENCHMARKS))

ON_CARD = ("precision=bf16", "micro_batch_tokens=16384")
"""`recipes/gpu.yaml`, for what has another recipe."""
SAVING = 60.0
"""Seconds to save in."""
Figures = dict[str, Any]
Value = TypeVar("Value")


class TimeIsUpError(BaseException):
    """Not an Exception, so that nothing takes it for a failure of its own."""


class Session:
    """One run of a script: its folder, its options, and what it has measured."""

    def __init__(self, name: str, options: argparse.Namespace) -> None:
        self.folder, self.data = options.output.resolve(), options.data.resolve()
        self.tiny, self.prepares, self.card, self.failed = options.tiny, options.prepare, "", list[str]()
        self.result, self.log = self.folder / f"{name}.jsonl", self.folder / f"{name}.log"
        (self.folder / "results").mkdir(parents=True, exist_ok=True)
        lines = self.result.read_text(encoding="utf-8").splitlines() if self.result.exists() else []
        self.done = {one["step"] for one in map(json.loads, lines) if one["ended"] not in ("stopped", "failed")}

    def choose(self, full: Value, tiny: Value) -> Value:
        """One of the two."""
        return tiny if self.tiny else full

    def start(self) -> None:
        """Makes what a tiny run begins with, and writes what the steps are measured on."""
        import torch
        from stage_runs import best_product

        from toolgen.evaluation.provenance import hardware

        if self.tiny and not (self.folder / "encoder").exists():
            from toolgen.datasets import save_dataset
            from toolgen.testing import tiny_base, tiny_dataset, tiny_encoder

            save_dataset(tiny_dataset(), self.folder / "data" / "bfcl")
            tiny_base(self.folder / "base", max_position_embeddings=1024)
            tiny_encoder(self.folder)
        on_card = torch.cuda.is_available()
        self.card = torch.cuda.get_device_name() if on_card else f"none, on a CPU{', tiny' * self.tiny}"
        if not self.prepares:
            peak = round(best_product(8192 if on_card else 256, torch.bfloat16) / 1000, 3)
            about = {"torch": torch.__version__, "cuda": torch.version.cuda, "hardware": hardware()}
            self.record("machine", "started", {"tiny": self.tiny, "bf16_peak_tflops": peak, **about})

    def record(self, step: str, ended: str, figures: Figures) -> None:
        """A line of the result."""
        with self.result.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, "ended": ended, "card": self.card, **figures}) + "\n")
        print(f"{step}: {ended}", flush=True)

    @contextmanager
    def step(self, name: str, failing: str = "failed") -> Iterator[Figures]:
        """Around a step, which fills in its figures; they are written however it ends. `failing`: what a failure is called."""
        figures, ended, started = Figures(), failing, time.perf_counter()
        try:
            with watched() as peak:
                yield figures
            ended = "done"
        except TimeIsUpError:
            ended = "stopped"
            raise
        except Exception as error:
            figures["error"] = f"{type(error).__name__}: {error}"
        finally:
            self.failed += [name] * (ended == "failed")
            self.record(name, ended, {"seconds": round(time.perf_counter() - started, 2), **peak, **figures})

    def measure(self, name: str, call: Callable[[], Figures]) -> None:
        """A step that is a function."""
        if name not in self.done and not self.prepares:
            with self.step(name) as figures:
                figures |= call()

    def command(
        self,
        name: str,
        *arguments: object,
        program: Sequence[object] = ("-m", "toolgen"),
        prepares: bool = False,
        may_fail: bool = False,
        until: Callable[[], bool] = lambda: False,
        **environment: str,
    ) -> None:
        """A step that is a program of Python, run in FOLDER; its figures are those of its `-o`. `prepares`: it needs no card;
        `until` asks for its end."""
        words = [sys.executable, *map(str, (*program, *arguments))]
        output = self.folder / words[words.index("-o") + 1] if "-o" in words else None
        if name in self.done or (output and output.exists()) or (self.prepares and not prepares):
            return
        failing = "failed, as it may" if may_fail else "failed"
        with self.step(name, failing) as figures, self.log.open("a", encoding="utf-8") as log:
            print(f"\n$ {' '.join(words)}", file=log, flush=True)
            variables = {**os.environ, "TOOLGEN_NO_HINTS": "1", **environment}
            child = subprocess.Popen(words, cwd=self.folder, stdout=log, stderr=log, env=variables)
            try:
                while child.poll() is None and not until():
                    time.sleep(0.05)
            finally:
                asked = child.poll() is None
                child.terminate()
                try:
                    child.wait(SAVING)
                except subprocess.TimeoutExpired:
                    child.kill()
                figures |= figures_of(output) if output else {}
                figures["said"] = self.log.read_text(encoding="utf-8").strip().splitlines()[-1]
            if child.returncode and not asked:
                raise RuntimeError(f"exit code {child.returncode}")


@contextmanager
def watched() -> Iterator[Figures]:
    """The peak of what a whole card holds, looked at ten times a second; without a card, of the largest process."""
    import torch

    peak, ended = {"peak_gib": 0.0}, threading.Event()

    def look() -> None:
        while True:
            used = (
                max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
                * 1024
            )
            if torch.cuda.is_available():
                free, total = torch.cuda.mem_get_info()
                used = total - free
            peak["peak_gib"] = max(peak["peak_gib"], round(used / 2**30, 3))
            if ended.wait(0.1):
                return

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        ended.set()
        watcher.join()


def figures_of(output: Path) -> Figures:
    """Of what a command has written so far: a training's curve, in some 50 points, or a result without its records."""
    from toolgen.checkpoint.layout import METRICS, read_metrics, work_folder

    if output.suffix == ".json":
        found = json.loads(output.read_text(encoding="utf-8")) if output.exists() else {}
        return {"result": found.get("metrics", found)}
    place = next((one / METRICS for one in (output, work_folder(output)) if (one / METRICS).exists()), None)
    records = read_metrics(place) if place else []
    records = [one for one in records if one["stage"] == records[-1]["stage"]]
    if len(records) < 2:
        return {"curve": records}
    first, last = records[0], records[-1]
    rate = (last["tokens"] - first["tokens"]) / max(last["seconds"] - first["seconds"], 0.01)
    return {"tokens_per_second": round(rate, 1), "curve": [*records[: -1 : -(-len(records) // 50)], last]}


@contextmanager
def session(name: str, about: str | None) -> Iterator[Session]:
    """The session of a script. Exit code 2 without a card, 1 if a step failed; that the time is up is no failure."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", "-o", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--data", type=Path, default=Path("data"), metavar="PUBLISHED", help="folder of published sets")
    parser.add_argument("--prepare", action="store_true", help="only what needs no card")
    parser.add_argument("--tiny", action="store_true", help="a tiny model on the CPU, to see that the script starts")
    options = parser.parse_args()
    if options.tiny or options.prepare:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    import torch

    if not (options.tiny or options.prepare or torch.cuda.is_available()):
        parser.exit(2, f"{name}: PyTorch sees no CUDA card; --tiny tries the script, --prepare makes its data\n")

    def time_is_up(_number: int, _frame: object) -> NoReturn:
        raise TimeIsUpError

    run = Session(name, options)
    signal.signal(signal.SIGALRM, time_is_up)
    signal.setitimer(signal.ITIMER_REAL, 60 * options.minutes)
    try:
        run.start()
        yield run
    except TimeIsUpError:
        print("the time is up; the same command goes on")
    signal.setitimer(signal.ITIMER_REAL, 0)
    if run.failed:
        sys.exit(f"failed: {', '.join(run.failed)}; see {run.log}")


def settings(*values: str) -> list[str]:
    """As options of a command."""
    return [part for value in values for part in ("--set", value)]


# What several scripts begin with


def bfcl(run: Session) -> str:
    """BFCL as a dataset, and all that is to be fetched for it."""
    for kind, one in (("base", "toolgen-135m"), ("base", "all-minilm-l6-v2"), ("dataset", "bfcl")) * (not run.tiny):
        run.command(f"fetch {one}", "fetch", kind, one, prepares=True)
    run.command("bfcl", "catalog", "build", "bfcl:", "-o", "data/bfcl", prepares=True)
    return "data/bfcl"


def index(run: Session) -> str:
    """An index of BFCL's tools."""
    run.command(
        "index", "index", bfcl(run), "-o", "runs/index", "--base", run.choose("toolgen-135m", "base"), "--no-fit"
    )
    return "runs/index"


def agent(run: Session) -> str:
    """An agent of BFCL's tools, by the recipe of docs/results/agent.md."""
    full = ["--recipe", str(ROOT / "recipes" / "agent.yaml"), *settings(*ON_CARD)]
    few = settings("steps=2", "batch_size=8")
    run.command("agent", "train", "agent", index(run), bfcl(run), "-o", "runs/agent", *run.choose(full, few))
    return "runs/agent"
