"""`transformers serve` over a checkpoint's folder, as it is installed: the same tool for the same prompt, by greedy choice.

It constrains nothing: the model is made so that what it likes best after a request is a tool.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

pytest.importorskip("fastapi")
pytest.importorskip("httpx2")

import httpx2

from toolgen.checkpoint import Checkpoint
from toolgen.testing import tiny_checkpoint
from toolgen.virtualization import output_rows

REQUESTS = ["storms in Oslo?", "send a mail to Ada", "what time is it?", "a forecast for Bergen", "Grüße 🚕"]
PROGRAM = shutil.which("transformers", path=str(Path(sys.executable).parent))
pytestmark = [pytest.mark.slow, pytest.mark.skipif(PROGRAM is None, reason="no command of transformers here")]


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    made = tiny_checkpoint(max_position_embeddings=1024, tied=False)
    with torch.no_grad():
        output_rows(made.model)[[made.vocabulary.token_id(tool) for tool in made.catalog.ids]] *= 200
    return made


@pytest.fixture(scope="module")
def served_by_transformers(
    checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Path]]:
    folder = tmp_path_factory.mktemp("transformers") / "ckpt"
    checkpoint.save(folder)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(PROGRAM), "serve", str(folder), "--device", "cpu", "--host", "127.0.0.1", "--port", str(port)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    with subprocess.Popen(command, env=environment, stdout=-3, stderr=-3) as process:
        try:
            until = time.monotonic() + 180
            while not _answers(f"http://127.0.0.1:{port}/health"):
                assert process.poll() is None and time.monotonic() < until
                time.sleep(0.2)
            yield f"http://127.0.0.1:{port}/v1/completions", folder
        finally:
            process.kill()


def _answers(url: str) -> bool:
    try:
        return httpx2.get(url, timeout=5).status_code == 200
    except httpx2.TransportError:
        return False


def test_the_same_tools_are_chosen(checkpoint: Checkpoint, served_by_transformers: tuple[str, Path]) -> None:
    url, folder = served_by_transformers
    chosen = []
    for text in REQUESTS:
        ids = checkpoint.protocol.prompt([{"role": "user", "content": text}])
        prompt = checkpoint.tokenizer.decode(ids)
        given = {"model": str(folder), "prompt": prompt, "max_tokens": 1, "temperature": 0}
        answer = httpx2.post(url, json=given, timeout=60).raise_for_status().json()
        chosen.append(answer["choices"][0]["text"])
    expected = [checkpoint.vocabulary.token(checkpoint.search(text, k=1)[0].tool) for text in REQUESTS]
    assert chosen == expected and len({*chosen}) > 1
