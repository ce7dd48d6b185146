"""Our losses against what the authors' own code answered.

Each file of ``golden/`` holds inputs and outputs of published code, run in float64 on the
processor, with its repository, commit and licence. The inputs are arbitrary; nothing of the
code is here. Rounding apart, of which float64 leaves 1e-12, the answers must be equal.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from harness.training import softened_kl
from suites.methods import bkdsnn, kdsnn, lasnn, sastc, supersnn

FILES = sorted(Path(__file__).with_name("golden").glob("*.json"))


@pytest.fixture(autouse=True)
def wide() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def golden(name: str) -> dict[str, Any]:
    file = Path(__file__).with_name("golden") / f"{name}.json"
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def tensor(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def tensors(state: dict[str, Any]) -> dict[str, Tensor]:
    return {name: tensor(values) for name, values in state.items()}


def same(found: Tensor, said: Any) -> bool:
    return torch.allclose(found, tensor(said), rtol=1e-5, atol=1e-12)


def gradient(loss: Tensor, of: Tensor) -> Tensor:
    (found,) = torch.autograd.grad(loss, of)
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_file_says_whose_code_answered_and_under_which_licence(file: Path) -> None:
    source = golden(file.stem)["source"]
    assert source["repository"].startswith("github.com/")
    assert len(source["commit"]) == 40
    assert source["licence"]
    assert source["files"]


def calibrated() -> tuple[sastc.Calibration, list[Tensor], list[Tensor]]:
    """Return the calibration with the authors' weights, spikes and features.

    In evaluation mode: their regressors' norms see a step at a time, ours all steps at once.
    """
    said = golden("sastc")
    spikes, features = ([tensor(maps) for maps in said[name]] for name in ("spikes", "features"))
    ours, theirs = [maps.shape[2] for maps in spikes], [maps.shape[1] for maps in features]
    network = sastc.Calibration(ours, theirs, batch_size=spikes[0].shape[1])
    missing = network.load_state_dict(tensors(said["state"]), strict=False)
    assert not missing.unexpected_keys
    assert all(key.endswith("num_batches_tracked") for key in missing.missing_keys)
    return network.eval(), spikes, features


def test_stages_are_calibrated_as_by_sastc() -> None:
    said = golden("sastc")
    network, spikes, features = calibrated()
    for maps in spikes:
        maps.requires_grad_()
    assert same(network.attention(spikes, features), said["attention"])
    loss = network(spikes, features)
    assert same(loss, said["calibration"])
    found = torch.autograd.grad(loss, spikes)
    pairs = zip(found, said["gradients"], strict=True)
    assert all(same(ours, theirs) for ours, theirs in pairs)


@pytest.mark.parametrize("name", ["sastc", "repdistiller"])
def test_logits_are_softened_as_by_others(name: str) -> None:
    said = golden(name)
    found = softened_kl(
        tensor(said["student"]), tensor(said["teacher"]), temperature=said["temperature"]
    )
    assert same(found, said["divergence"])


def test_a_blurred_map_is_restored_as_by_bkdsnn(monkeypatch: pytest.MonkeyPatch) -> None:
    said = golden("bkdsnn")
    rate, feature = tensor(said["rate"]).requires_grad_(), tensor(said["feature"])
    align = bkdsnn.aligner(rate.shape[1], feature.shape[1])
    generate = bkdsnn.generator(feature.shape[1])
    align.load_state_dict(tensors(said["align"]))
    generate.load_state_dict(tensors(said["generator"]))
    monkeypatch.setattr(torch, "rand", lambda *_, **__: tensor(said["draws"]))
    method = bkdsnn.Bkdsnn()
    restored = generate(bkdsnn.blurred(align(rate), probability=method.blur))
    loss = method.restoring * bkdsnn.restoration_error(restored, feature)
    assert same(loss, said["restoring"])
    assert same(gradient(loss, rate), said["restoring_gradient"])


def test_soft_labels_are_weighted_as_by_bkdsnn() -> None:
    said, method = golden("bkdsnn"), bkdsnn.Bkdsnn()
    student, teacher = tensor(said["student"]), tensor(said["teacher"])
    labels = torch.tensor(said["labels"])
    found = bkdsnn.weighted_soft_labels(student, teacher, labels, temperature=method.temperature)
    assert same(method.weight * found, said["soft_labels"])


def test_a_last_map_is_met_as_by_the_kdsnn_of_bkdsnn() -> None:
    said, weight = golden("bkdsnn"), kdsnn.Kdsnn().feature_weight
    rate, feature, narrow = (tensor(said[name]) for name in ("rate", "feature", "narrow_feature"))
    align = nn.Conv2d(rate.shape[1], feature.shape[1], 1, bias=False)
    align.load_state_dict({"weight": tensor(said["kdsnn_align"])})
    assert same(weight * kdsnn.feature_error(align, rate, feature), said["kdsnn"])
    assert same(weight * kdsnn.feature_error(nn.Identity(), rate, narrow), said["kdsnn_narrow"])


def test_samples_are_related_as_by_repdistiller() -> None:
    said = golden("repdistiller")
    ours, theirs = tensor(said["student_vectors"]).requires_grad_(), tensor(said["teacher_vectors"])
    alike = supersnn.similarity_preserving_error(ours, theirs)
    assert same(alike, said["similarity"])
    assert same(gradient(alike, ours), said["similarity_gradient"])
    related = supersnn.relational_error(ours, theirs)
    assert same(related, said["relations"])
    assert same(gradient(related, ours), said["relations_gradient"])


def test_attention_is_transferred_as_by_repdistiller() -> None:
    # There the squares are averaged over positions too; our sum over them is the paper's.
    said = golden("repdistiller")
    ours, theirs = tensor(said["student_maps"]), tensor(said["teacher_maps"])
    positions = min(ours.shape[-1], theirs.shape[-1]) ** 2
    assert same(lasnn.attention_error(ours, theirs) / positions, said["attention"])
