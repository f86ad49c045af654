"""ParallelRetriever: any retriever on several processes, each of which ranks its part of the requests.

Started by `torchrun` or `accelerate launch`, all processes ask the same requests in the same order and get all rankings,
so what is made of them is the same everywhere and one process can write it. Needs torch, and only then imports it.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Sequence
from itertools import chain, zip_longest
from typing import Any

from toolgen.catalog.catalog import Catalog
from toolgen.errors import ProcessesError, UsageError
from toolgen.retrieval.protocol import Ranking, Retriever, count_of, texts_of, unit_of


def process_count() -> int:
    """How many processes the launcher started; 1 without one."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def check_one_process(command: str) -> None:
    """UsageError where a launcher started several processes of a command that shares nothing among them."""
    if (count := process_count()) > 1:
        raise UsageError(f"{command} runs in one process, not in {count}; start it without torchrun or accelerate")


def in_parallel(retriever: Retriever) -> Retriever:
    """The retriever itself in one process, else one that shares the requests with the other processes."""
    return retriever if process_count() == 1 else ParallelRetriever(retriever)


class ParallelRetriever:
    """Process r of n ranks the requests r, r + n, ...; rankings are exchanged over gloo, they are small."""

    def __init__(self, retriever: Retriever) -> None:
        import torch.distributed as dist

        if not dist.is_initialized():
            dist.init_process_group("gloo")
            atexit.register(dist.destroy_process_group)
        self.name, self.unit = retriever.name, unit_of(retriever)
        self.config: dict[str, Any] = {**getattr(retriever, "config", {}), "processes": dist.get_world_size()}
        self.parts: tuple[Retriever, ...] = (retriever,)

    def index(self, catalog: Catalog) -> None:
        """Each process indexes the whole catalog."""
        self.parts[0].index(catalog)

    def search(self, queries: Sequence[str], k: int) -> list[Ranking]:
        """All rankings, in every process. ProcessesError if another one has ended."""
        import torch.distributed as dist

        count, texts = count_of(k), texts_of(queries)  # in all processes, also in one that has nothing to rank
        own = texts[dist.get_rank() :: dist.get_world_size()]
        rankings = self.parts[0].search(own, count) if own else []
        found: list[list[Ranking]] = [[] for _ in range(dist.get_world_size())]
        try:
            dist.all_gather_object(found, rankings)
        except RuntimeError as error:
            raise ProcessesError(
                f"another process of this search has ended; start it again ({' '.join(str(error).split())[:120]})"
            ) from error
        return [ranking for ranking in chain.from_iterable(zip_longest(*found)) if ranking is not None]
