"""The assistant itself: what it does beside answering."""

from __future__ import annotations

import threading

import pytest

from toolgen.serving import assistant as module
from toolgen.serving.assistant import Assistant
from toolgen.testing import tiny_checkpoint


def test_freed_memory_is_given_back_again_and_again_until_it_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    times, is_third = [], threading.Event()

    def release() -> bool:
        times.append(0)
        if len(times) == 3:
            is_third.set()
        return True

    monkeypatch.setattr(module, "RELEASE_SECONDS", 0.01)
    monkeypatch.setattr(module, "release_freed", release)
    assistant = Assistant(tiny_checkpoint())
    assert is_third.wait(30)
    assistant.close()
    closed = len(times)
    assert not assistant._releasing.is_alive() and len(times) == closed
