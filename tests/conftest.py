"""Fixtures that several packages share: data beside the checkout, and fetched models for tests marked `weights`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from toolgen.errors import FetchError
from toolgen.fetching import fetch_base, fetch_dataset

if "PYTEST_XDIST_WORKER" in os.environ:  # every process of several has one core, and what it starts has it too
    os.environ.setdefault("OMP_NUM_THREADS", "1")

CHECKOUT = Path(__file__).resolve().parents[1]

# How long an example takes says more about what else the machine does than about the code.
# The same examples every time: a change fails for what it changed. `--hypothesis-profile=explore` looks for new ones.
settings.register_profile("toolgen", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None)
settings.load_profile("toolgen")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is slow comes first, so that the processes of a run end together. What fetches has longer."""
    for item in items:
        if "weights" in item.keywords:
            item.add_marker(pytest.mark.timeout(900))
    items.sort(key=lambda item: "slow" not in item.keywords)


@pytest.fixture(scope="session", autouse=True)
def unflushed() -> Iterator[None]:
    """Tests do not wait for the disk. That what is written is flushed, and when, is tested in test_files.py."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(autouse=True)
def nothing_is_fetched(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the mark `weights`, a test that would download a package fails at once instead of waiting for a network."""
    if "weights" not in request.keywords:
        monkeypatch.setenv("PIP_NO_INDEX", "1")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with files of foreign benchmarks: TOOLGEN_SHARED_DATA, else `../shared/data` beside the checkout."""
    folder = Path(os.environ.get("TOOLGEN_SHARED_DATA") or CHECKOUT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no benchmark files in {folder}; set TOOLGEN_SHARED_DATA to the folder that has them")
    return folder


@pytest.fixture(scope="session")
def cached_base() -> Path:
    """The model folder of the default base, fetched once into the user's cache."""
    return _fetched(lambda: fetch_base("smollm2-135m-instruct"))


@pytest.fixture(scope="session")
def cached_shipped_base() -> Path:
    """The model folder of the base that comes with the package, built once into the user's cache."""
    return _fetched(lambda: fetch_base("toolgen-135m"))


@pytest.fixture(scope="session")
def cached_encoder() -> Path:
    """The model folder of the default sentence encoder, fetched once into the user's cache."""
    return _fetched(lambda: fetch_base("all-minilm-l6-v2"))


@pytest.fixture(scope="session")
def cached_bfcl() -> Path:
    """The unpacked BFCL package, fetched once into the user's cache."""
    return _fetched(lambda: fetch_dataset("bfcl"))


@pytest.fixture(scope="session")
def agentdojo() -> Path:
    """The unpacked AgentDojo package, fetched once into the user's cache."""
    pytest.importorskip("deepdiff")
    return _fetched(lambda: fetch_dataset("agentdojo"))


@pytest.fixture(scope="session")
def tau2() -> Path:
    """The unpacked tau2 package, fetched once into the user's cache."""
    pytest.importorskip("deepdiff")
    return _fetched(lambda: fetch_dataset("tau2"))


def _fetched(fetch: Callable[[], Path]) -> Path:
    """What `fetch` returns; without a network the test is skipped, except in CI, where that is a failure."""
    try:
        return fetch()
    except FetchError as error:
        if "could not download" not in str(error) or os.environ.get("CI"):
            raise
        pytest.skip(str(error))
