"""The tiny catalog under each kind of tokenizer."""

from __future__ import annotations

from functools import cache
from typing import cast

import pytest

from toolgen.checkpoint import Checkpoint
from toolgen.testing import TOKENIZER_KINDS, TokenizerKind, tiny_checkpoint


@cache
def checkpoint_with(kind: TokenizerKind, chatml: bool) -> Checkpoint:
    return tiny_checkpoint(tokenizer=kind, chatml=chatml)


@pytest.fixture(
    params=[(kind, chatml) for kind in TOKENIZER_KINDS for chatml in (True, False)],
    ids=lambda param: f"{param[0]}-{'chatml' if param[1] else 'plain'}",
)
def checkpoint(request: pytest.FixtureRequest) -> Checkpoint:
    """Not to be changed: it is made once for all tests."""
    kind, chatml = request.param
    return checkpoint_with(cast(TokenizerKind, kind), chatml)
