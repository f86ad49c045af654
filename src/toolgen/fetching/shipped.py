"""Bases that come with toolgen: a fetched base and a low-rank difference inside the package make an ordinary model folder.

    bases/NAME/shipped.json             the base, what its weights hash to, the licence, sha256 of the files beside it
    bases/NAME/difference.safetensors   `<layer>.left` and `<layer>.right`, whose product is added to the layer's weight
    bases/NAME/...                      what is put into the folder as it is: the row maker, what it was trained on

`ship` makes such a folder of what `toolgen pretrain` wrote. Knows no model class.
Shapes: O outputs, I inputs, K rank.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from toolgen.errors import FetchError, InputError, UsageError
from toolgen.fetching.cache import ORIGIN_FILE
from toolgen.files import new_folder, sha256_of, write_json
from toolgen.foreign.data import read_json
from toolgen.foreign.typed import typed

if TYPE_CHECKING:
    from torch import Tensor

PACKAGED = Path(__file__).parent / "bases"
"""Where they lie; without the folder none is offered."""
SHIPPED, DIFFERENCE, WEIGHTS = "shipped.json", "difference.safetensors", "model.safetensors"
LEFT, RIGHT = "left", "right"
MEGABYTES = 20
"""What one may take in the package."""


@dataclass(frozen=True, kw_only=True)
class ShippedBase:
    """`base` is the name of the base that it changes, `weights` what that base's weights hash to (`hash_of_weights`), `files`
    the sha256 of each packaged file."""

    name: str
    base: str
    weights: str
    contents: str
    licence: str
    files: Mapping[str, str]


def shipped_bases(packaged: Path = PACKAGED) -> dict[str, ShippedBase]:
    """The bases in the package, by name."""
    found = sorted(packaged.glob(f"*/{SHIPPED}"))
    bases = map(_read, found)
    return {base.name: base for base in bases}


def _read(file: Path) -> ShippedBase:
    try:
        return typed(ShippedBase, read_json(file))
    except (InputError, ValueError) as error:
        raise FetchError(f"{file} is damaged ({error}); install toolgen again") from error


def folder_with_difference(name_or_folder: str) -> Path:
    """Where the difference of a base that comes with toolgen lies, or of a folder of `toolgen pretrain`. UsageError without."""
    folder = PACKAGED / name_or_folder if name_or_folder in shipped_bases() else Path(name_or_folder)
    if not (folder / DIFFERENCE).is_file():
        raise UsageError(
            f"{name_or_folder} has no {DIFFERENCE}; name a folder that `toolgen pretrain` wrote or a base that comes with "
            f"toolgen ({', '.join(shipped_bases())})"
        )
    return folder


def ship(
    pretrained: Path, base: Path, target: Path, *, base_name: str, contents: str, licence: str, files: Sequence[str]
) -> ShippedBase:
    """Writes the folder to put into the package, named as the base will be, from a folder of `toolgen pretrain` and the base
    that it was trained from; `files` go with it beside the difference. UsageError if it is too large."""
    kept = (DIFFERENCE, *files)
    size = sum((pretrained / name).stat().st_size for name in kept)
    if size > MEGABYTES * 10**6:
        raise UsageError(
            f"{pretrained}: {size / 1e6:.1f} MB to ship, more than {MEGABYTES}; pretrain with a lower rank"
        )
    with new_folder(target) as folder:
        for name in kept:
            shutil.copyfile(pretrained / name, folder / name)
        made = ShippedBase(
            name=target.name,
            base=base_name,
            weights=hash_of_weights(base),
            contents=contents,
            licence=licence,
            files={name: sha256_of(folder / name) for name in kept},
        )
        write_json(folder / SHIPPED, asdict(made))
    return made


def check_files(shipped: ShippedBase, packaged: Path = PACKAGED) -> None:
    """FetchError for a packaged file that is not what was shipped."""
    for name, expected in shipped.files.items():
        file = packaged / shipped.name / name
        if not file.is_file() or sha256_of(file) != expected:
            raise FetchError(f"{file} is missing or damaged; install toolgen again")


def build(shipped: ShippedBase, bases: Iterable[Path], folder: Path, packaged: Path = PACKAGED) -> None:
    """Fills `folder` with the first of `bases` that has the right weights, changed.
    FetchError for damaged files, or if none has."""
    from safetensors.torch import load_file, save_file

    check_files(shipped, packaged)
    base = next((one for one in bases if hash_of_weights(one) == shipped.weights), None)
    if base is None:
        raise FetchError(f"{shipped.base} has other weights than {shipped.name} was made from ({shipped.weights[:12]})")
    own = {*shipped.files, WEIGHTS, ORIGIN_FILE}
    for file in base.iterdir():
        if file.is_file() and file.name not in own:
            shutil.copyfile(file, folder / file.name)
    for name in {*shipped.files} - {DIFFERENCE}:
        shutil.copyfile(packaged / shipped.name / name, folder / name)
    weights = {name: weight.float() for name, weight in load_file(base / WEIGHTS).items()}
    _add(weights, load_file(packaged / shipped.name / DIFFERENCE))
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})


def hash_of_weights(folder: Path) -> str:
    """Identity of the values of a model's weights in float32, whatever form they are saved in: 64 hex digits."""
    from safetensors.torch import load_file

    if not (folder / WEIGHTS).is_file():
        raise FetchError(f"{folder} has no {WEIGHTS}")
    digest = hashlib.sha256()
    for name, weight in sorted(load_file(folder / WEIGHTS).items()):
        digest.update(f"{name} {list(weight.shape)}\n".encode())
        digest.update(weight.float().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _add(weights: dict[str, Tensor], factors: Mapping[str, Tensor]) -> None:
    """Adds the products to the weights of the layers, whose names may go on to the left."""
    names = {name.rpartition(".")[0] for name in factors}
    full = {name.partition(".")[2]: name for name in weights} | {name: name for name in weights}
    for name in names:
        key = full.get(f"{name}.weight")
        if key is None:
            raise FetchError(f"the difference changes the layer {name}, which the base does not have")
        left_OK, right_KI = factors[f"{name}.{LEFT}"].float(), factors[f"{name}.{RIGHT}"].float()
        weights[key] = weights[key] + left_OK @ right_KI
