"""The command line's ``teacher import``."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import typer

from harness import discovery
from harness.cli.options import RUNS, AsJson, DataRoot, Device, Out, conditions_of
from harness.cli.parsing import devices_of, floats, require_device
from harness.contracts.errors import SpecError

teacher_app = typer.Typer(help="Teachers from elsewhere.", no_args_is_help=True)


@teacher_app.callback()
def _teacher() -> None:
    """Keep the verb's own name: of a single command typer would drop it."""


@teacher_app.command("import")
def import_teacher(  # noqa: PLR0913  options of a verb
    file: Annotated[Path, typer.Argument(help="A checkpoint, a folder, or OWNER/NAME.")],
    *,
    model: Annotated[str, typer.Option(help="Its topology, one of the models.")],
    dataset: Annotated[str, typer.Option(help="What it was trained on, or will be.")],
    normalisation: Annotated[
        Literal["dataset", "imagenet", "half", "none"] | None,
        typer.Option(
            metavar="NAME",
            help="What images were normalised by when it was trained: dataset, its mean and "
            "deviation; imagenet; half, 0.5 and 0.5; or none. If nobody says, the validation split "
            "is asked, and may not know.",
        ),
    ] = None,
    mean: Annotated[
        str | None, typer.Option(help="Of each channel in [0, 1], comma-separated.")
    ] = None,
    std: Annotated[str | None, typer.Option(help="Likewise, the deviation.")] = None,
    saw: Annotated[
        str | None,
        typer.Option(help="What it was trained on, such as 'all 50,000 images'; tables tell it."),
    ] = None,
    device: Device = "cpu",
    data_root: DataRoot = None,
    out: Out = RUNS,
    as_json: AsJson = False,
) -> None:
    """Evaluate a published PyTorch checkpoint (weights only) and keep it as a teacher.

    A folder as Hugging Face has it (config.json, model.safetensors, tokeniser), or OWNER/NAME on
    its hub, is kept as the start of a teacher that a suite then trains.
    """
    from harness.data import hub

    discovery.module_of("models", model)
    discovery.module_of("datasets", dataset)
    if hub.lacks_owner(file):
        raise SpecError(
            f"no checkpoint at {file}; a name on {hub.HUB} has its owner before it, as "
            "google-bert/bert-base-cased"
        )
    if file.is_dir() or hub.is_name(file):
        if any((normalisation, mean, std, saw)):
            raise SpecError(
                f"the weights of {file} begin a training; --normalisation, --mean, --std and "
                "--saw are of a checkpoint that teaches as it is"
            )
        _keep_start(file, model=model, dataset=dataset, data_root=data_root, as_json=as_json)
        return
    from harness.data import catalogue
    from harness.engine.importing import import_checkpoint, presentations

    require_device(devices_of(device, None)[0])
    found = import_checkpoint(
        file,
        model=model,
        dataset=dataset,
        conditions=conditions_of(
            device, data_root, out, deterministic=False, threads=os.cpu_count() or 1
        ),
        shown=presentations(
            catalogue.load(dataset).card,
            named=normalisation,
            mean=floats("--mean", mean),
            std=floats("--std", std),
        ),
        saw=saw,
    )
    if as_json:
        print(json.dumps({"score": found.score.value, "folder": str(found.folder)}))
    else:
        scored = found.scale.told(found.score.value)
        print(
            f"{model} on {dataset}: {scored} on {found.n_test} test samples, "
            f"with the normalisation of {found.normalisation}; kept in {found.folder}"
        )


def _keep_start(
    place: Path, /, *, model: str, dataset: str, data_root: Path | None, as_json: bool
) -> None:
    """Keep published weights for a teacher to begin with, and say how a suite names them.

    Raises:
        SpecError: If they are not those of ``model`` on ``dataset``.
        DataError: If they cannot be fetched, or the data set is not here.
    """
    from torch import nn

    from harness.contracts.model import Model
    from harness.data import catalogue
    from harness.engine import resolve, starts

    resolve.refuse_unfit(model, dataset)
    source, topology = catalogue.load(dataset), cast("Model", discovery.load("models", model))
    network = topology.build(nn.ReLU, input=source.card.input, output=source.card.output)
    starts.able(network, model)
    theirs: dict[str, Any] = {"model": model, "vocabulary": source.load(data_root).vocabulary}
    look = partial(starts.refuse_other, network, **theirs)
    with nullcontext(place) if place.is_dir() else _fetched(place.as_posix(), look) as folder:
        starts.fill(network, folder, **theirs)  # before it is kept: is it of this network?
        sha256 = starts.kept(folder)
    where = starts.found(sha256)
    if as_json:
        print(json.dumps({"start": sha256, "folder": str(where)}))
    else:
        print(
            f"kept in {where}; a suite begins with it by TeacherSpec(model={model!r}, recipe=..., "
            f"start={sha256!r})"
        )


@contextmanager
def _fetched(name: str, look: Callable[[Path], None]) -> Iterator[Path]:
    """Yield a folder with what the hub has under ``name``, unless ``look`` refuses it."""
    from harness.cli.data import downloads
    from harness.data import hub
    from harness.engine import starts

    print(f"there is no {name} here: taken for a name on {hub.HUB}", file=sys.stderr)
    with (
        downloads() as progress,
        hub.folder_of(
            name,
            aside=starts.place(),
            texts=starts.KEPT,
            weights=starts.WEIGHTS,
            look=look,
            progress=progress,
        ) as folder,
    ):
        yield folder
