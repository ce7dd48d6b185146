"""Every number a method has by default, and who says so.

A method whose loss is called exact has the authors' numbers. ``ours`` is a number of which no
source is known: it stays what the published rows were made with.
"""

from typing import Any

import pytest

from harness import discovery

HINTON = "Hinton, Vinyals & Dean 2015, as in the distillation of SASTC's code, kd.py and parser"
BKDSNN = "BKDSNN's code, loss.py and train_distillation.py"
CKDSNN = "CKDSNN's code, utils.py"
ESD = "ESD's commands and logs"
IDSNN = "IDSNN's code"
LOGIT_SNN = "the commands of Logit-SNN's repository"
SAKD = "SAKD's scripts"
TTFS = "the code of Stanojevic et al. 2024"
OURS = "ours"

CONSTANTS: dict[str, dict[str, tuple[Any, str]]] = {
    "affine_projector": {
        "weight": (1.0, OURS),
        "logit_weight": (0.0, "the abstract speaks of features alone"),
        "temperature": (4.0, OURS),
    },
    "bidirectional": {
        "temperature": (4.0, OURS),
        "logit_weight": (1.0, OURS),
        "feature_weight": (1.0, OURS),
        "reverse_weight": (0.3, OURS),
        "rise": (0.1, OURS),
        "teacher_pace": (0.1, OURS),
    },
    "bkdsnn": {
        "restoring": (2e-3, BKDSNN),
        "blur": (0.15, BKDSNN),
        "temperature": (2.0, BKDSNN),
        "weight": (1.0, BKDSNN),
    },
    "bsd": {
        "temperature": (4.0, OURS),
        "residual_weight": (1.0, OURS),
        "semantic_weight": (0.5, OURS),
        "bands": (8, OURS),
        "groups": (4, OURS),
    },
    "ckdsnn": {
        "map_temperature": (2.0, CKDSNN),
        "map_weight": (1.0, CKDSNN),
        "temperature": (2.0, CKDSNN),
        "noise": (0.1, CKDSNN),
        "logit_weight": (1.0, CKDSNN),
    },
    "enof": {"temperature": (1.0, OURS), "weight": (1.0, OURS)},
    "esd": {
        "temperature": (3.0, ESD),
        "weight": (0.3, ESD),
        "branch_weight": (1.0, ESD),
        "divide_by_timesteps": (True, ESD),
    },
    "feature_mse": {"weight": (1.0, OURS)},
    "hta_kl": {
        "temperature": (4.0, OURS),
        "weight": (1.0, OURS),
        "head_mass": (0.5, "Wu et al., arXiv 2404.02657"),
    },
    "hybrid_blockwise": {
        "temperature": (3.0, "other methods of the same group"),
        "teacher_weight": (1.0, OURS),
        "hybrid_weight": (1.0, OURS),
        "divide_by_timesteps": (False, OURS),
    },
    "idsnn": {"temperature": (4.0, IDSNN), "weight": (0.3, IDSNN)},
    "kd_bntt": {"temperature": (4.0, OURS), "teacher_share": (0.7, OURS)},
    "kdsnn": {
        "feature_weight": (2e-3, BKDSNN),
        "teacher_share": (0.5, OURS),
        "temperature": (4.0, OURS),
    },
    "lasnn": {
        "weight": (4.0, "attention transfer, 1000 over 16 x 16 positions, rounded"),
        "logit_weight": (1.0, OURS),
        "temperature": (4.0, OURS),
    },
    "logit_kd": {"temperature": (4.0, HINTON), "weight": (1.0, HINTON)},
    "logit_snn": {
        "temperature": (3.0, LOGIT_SNN),
        "alpha": (0.2, LOGIT_SNN),
        "beta": (0.5, LOGIT_SNN),
    },
    "ot_kd": {
        "temperature": (4.0, OURS),
        "logit_weight": (1.0, OURS),
        "transport_weight": (0.1, OURS),
        "ramp": (0.2, OURS),
        "smoothing": (0.05, OURS),
        "iterations": (50, OURS),
        "place_weight": (0.0, OURS),
        "side": (8, OURS),
    },
    "ot_kd_oad": {
        "temperature": (4.0, OURS),
        "logit_weight": (1.0, OURS),
        "transport_weight": (0.1, OURS),
        "ramp": (0.2, OURS),
        "smoothing": (0.05, OURS),
        "iterations": (50, OURS),
        "time_weight": (0.01, OURS),
        "rate_hz": (4.0, "features and labels as TeSTra, LSTR and MAT distribute them"),
    },
    "sakd": {
        "feature_weight": (10.0, f"{SAKD}, ImageNet"),
        "logit_weight": (1.0, OURS),
        "temperature": (4.0, f"{SAKD}, CIFAR"),
        "late_feature_weight": (0.01, f"{SAKD}, ImageNet"),
    },
    "sastc": {
        "temperature": (4.0, "SASTC's parser"),
        "logit_weight": (1.0, "SASTC's parser"),
        "feature_weight": (10.0, OURS),
    },
    "supersnn": {"weight": (10.0, OURS)},
    "tssd": {
        "stretch": (2, OURS),
        "temperature": (2.0, OURS),
        "alpha": (1.0, OURS),
        "beta": (1.0, OURS),
        "by_step": (True, "a review of Logit-SNN that describes it"),
    },
    "ttfs": {"zeta": (0.5, TTFS), "gamma": (10.0, TTFS)},
}


def _numbers(name: str) -> dict[str, Any]:
    found = discovery.method_parameters(name)
    return {field: value for field, value in found.items() if isinstance(value, bool | int | float)}


@pytest.mark.parametrize("name", CONSTANTS)
def test_a_default_is_what_its_source_says(name: str) -> None:
    assert _numbers(name) == {field: value for field, (value, _) in CONSTANTS[name].items()}


@pytest.mark.parametrize("name", CONSTANTS)
def test_no_constant_of_an_exact_loss_is_ours(name: str) -> None:
    card = discovery.method_card(name)
    assert card is not None
    sources = {source for _, source in CONSTANTS[name].values()}
    assert card.loss == "reconstructed" or OURS not in sources
