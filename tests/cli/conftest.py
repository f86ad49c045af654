"""A tiny base model and dataset on disk, and the whole application to call on them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from toolgen.cli.app import make_app
from toolgen.datasets import save_dataset
from toolgen.testing import tiny_base, tiny_dataset

Invoke = Callable[..., Result]


@pytest.fixture(scope="session")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(tmp_path_factory.mktemp("base") / "tiny", max_position_embeddings=1024)


@pytest.fixture(scope="session")
def dataset_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dataset") / "tiny"
    save_dataset(tiny_dataset(), folder)
    return folder


@pytest.fixture
def toolgen() -> Invoke:
    """Calls the application as `toolgen ARGUMENTS`, in this process."""
    return lambda *arguments: CliRunner().invoke(make_app(), [str(argument) for argument in arguments])
