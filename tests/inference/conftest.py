"""A tiny checkpoint with random weights and opinions: what is guaranteed must not depend on what a model has learned."""

from __future__ import annotations

import pytest

from toolgen.checkpoint import Checkpoint
from toolgen.testing import tiny_checkpoint


@pytest.fixture(scope="session")
def checkpoint() -> Checkpoint:
    return tiny_checkpoint(initializer_range=1.0, max_position_embeddings=2048)
