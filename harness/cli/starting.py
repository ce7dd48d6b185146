"""The command line's ``teacher import`` of a folder."""

import json
from pathlib import Path
from typing import Any, cast

from torch import nn

from harness import discovery
from harness.contracts.dataset import Dataset
from harness.contracts.model import Model
from harness.engine import starts


def keep_start(folder: Path, /, *, model: str, dataset: str, as_json: bool) -> None:
    """Keep published weights for a teacher to begin with, and say how a suite names them.

    Raises:
        SpecError: If they are not those of ``model`` on ``dataset``.
    """
    card = cast("Dataset[Any]", discovery.load("datasets", dataset)).card
    topology = cast("Model", discovery.load("models", model))
    network = topology.build(nn.ReLU, input=card.input, output=card.output)
    starts.fill(network, folder, model=model)  # before it is kept: is it of this network?
    sha256 = starts.kept(folder)
    where = starts.found(sha256)
    if as_json:
        print(json.dumps({"start": sha256, "folder": str(where)}))
    else:
        print(
            f"kept in {where}; a suite begins with it by TeacherSpec(model={model!r}, recipe=..., "
            f"start={sha256!r})"
        )
