"""`transformers serve` over a checkpoint's folder, as it is installed: the same tool for the same prompt, by greedy choice.

It constrains nothing. A tiny model is made so that what it likes best after a request is a tool; the base that comes with the
package likes best what the request asks for.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

pytest.importorskip("fastapi")
pytest.importorskip("httpx2")

import httpx2

from toolgen.checkpoint import Checkpoint
from toolgen.cli.virtualize import virtualized
from toolgen.testing import tiny_catalog, tiny_checkpoint
from toolgen.virtualization import output_rows

PROGRAM = shutil.which("transformers", path=str(Path(sys.executable).parent))
pytestmark = [pytest.mark.slow, pytest.mark.skipif(PROGRAM is None, reason="no command of transformers here")]


@contextmanager
def served_by_transformers(folder: Path) -> Iterator[str]:
    """The address of its completions."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(PROGRAM), "serve", str(folder), "--device", "cpu", "--host", "127.0.0.1", "--port", str(port)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 180
        while not _answers(f"http://127.0.0.1:{port}/health"):
            assert process.poll() is None and time.monotonic() < until
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/v1/completions"
    finally:
        process.kill()
        process.wait(20)


def _answers(url: str) -> bool:
    try:
        return httpx2.get(url, timeout=5).status_code == 200
    except httpx2.TransportError:
        return False


def first_tokens(checkpoint: Checkpoint, folder: Path, requests: Sequence[str]) -> list[str]:
    """What `transformers serve` writes first after each request."""
    checkpoint.save(folder)
    written = []
    with served_by_transformers(folder) as url:
        for text in requests:
            prompt = checkpoint.tokenizer.decode(checkpoint.protocol.prompt([{"role": "user", "content": text}]))
            given = {"model": str(folder), "prompt": prompt, "max_tokens": 1, "temperature": 0}
            answer = httpx2.post(url, json=given, timeout=60).raise_for_status().json()
            written.append(answer["choices"][0]["text"])
    return written


def test_the_same_tools_are_chosen(tmp_path: Path) -> None:
    checkpoint = tiny_checkpoint(max_position_embeddings=1024, tied=False)
    with torch.no_grad():
        output_rows(checkpoint.model)[[checkpoint.vocabulary.token_id(tool) for tool in checkpoint.catalog.ids]] *= 200
    requests = ["storms in Oslo?", "send a mail to Ada", "what time is it?", "a forecast for Bergen", "Grüße 🚕"]
    expected = [checkpoint.vocabulary.token(checkpoint.search(text, k=1)[0].tool) for text in requests]
    assert first_tokens(checkpoint, tmp_path / "ckpt", requests) == expected and len({*expected}) > 1


@pytest.mark.weights
def test_the_base_that_comes_with_the_package_chooses_right_there_too(
    cached_shipped_base: Path, tmp_path: Path
) -> None:
    checkpoint = virtualized(str(cached_shipped_base), tiny_catalog())
    wanted = {
        "storms in Oslo?": "weather&&get_alerts",
        "send a mail to Ada": "mail&&send",
        "what time is it?": "clock&&now",
        "a forecast for Bergen": "weather&&get_forecast",
    }
    assert [checkpoint.search(text, k=1)[0].tool for text in wanted] == [*wanted.values()]
    chosen = first_tokens(checkpoint, tmp_path / "ckpt", [*wanted])
    assert chosen == [checkpoint.vocabulary.token(tool) for tool in wanted.values()]
