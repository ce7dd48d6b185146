"""The page of simulators is of what is here, and its counts are derived ones."""

import pytest
import torch

from benchmarks import simulators
from benchmarks._own_neurons import OWN
from harness.contracts.neuron import NeuronSpec, Reset


@pytest.mark.parametrize("reset", ["zero", "subtract"])
def test_spikingjellys_own_layer_answers_as_the_contract_does(reset: Reset) -> None:
    pytest.importorskip("spikingjelly")
    found = simulators.differing("spikingjelly", NeuronSpec(tau=2.0, reset=reset))
    assert found is not None
    assert found[0] == 0
    assert found[1] > 100


def test_an_own_layer_that_differs_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(spec: NeuronSpec, current: simulators.Tensor) -> simulators.Tensor:  # noqa: ARG001  the table's signature
        return 0 * current

    monkeypatch.setitem(OWN, "silent", silent)  # type: ignore[arg-type]  # the table is a plain one
    counted = simulators.differing("silent", NeuronSpec())
    assert counted is not None
    assert counted[0] == counted[1]  # every spike is missed, and nothing else is wrong


def test_every_simulator_that_is_here_has_a_time_and_an_order() -> None:
    found = simulators.times_ms(2, 64, "cpu", backward=True, rounds=2)
    assert list(found) == simulators.here()
    assert all(ms > 0 for ms in found.values())


def test_the_table_says_how_to_get_what_is_not_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        simulators, "remedy", lambda name: "pip install it" if name == "norse" else None
    )
    lines = [line for line in simulators.what_they_mean() if line.startswith("| norse")]
    assert lines == ["| norse | not installed: `pip install it` |  |  |  |  |"]


def test_the_speed_table_names_the_fastest_with_a_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulators, "here", lambda: ["slow", "fast"])
    monkeypatch.setattr(simulators, "times_ms", lambda *_, **__: {"slow": 3.0, "fast": 2.0})
    row = list(simulators.how_fast("cpu", 1))[2]
    assert row.endswith("| forward | 3.00 (1.5x) | 2.00 (1.0x) |")


def test_simulators_without_a_folder_are_counted_where_they_are_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(simulators.fingerprint, "installed", {"rockpool": "3.1.0"}.get)
    monkeypatch.setitem(OWN, "rockpool", lambda _, current: 0 * current)  # type: ignore[arg-type]
    rows = list(simulators.what_theirs_answer())[2:]
    assert [row.split(" | ")[0] for row in rows] == ["| rockpool"]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("reset", ["zero", "subtract"])
def test_brainpys_leaky_neuron_by_euler_is_the_contracts(reset: Reset) -> None:
    pytest.importorskip("brainpy")
    for scale_input in (True, False):
        spec = NeuronSpec(reset=reset, scale_input=scale_input)
        found = simulators.differing("brainpy", spec)
        assert found is not None
        assert found[0] == 0
        assert found[1] > 100


@pytest.mark.filterwarnings("ignore")
def test_rockpools_neuron_fires_as_often_as_the_threshold_fits() -> None:
    pytest.importorskip("rockpool")
    answer = OWN["rockpool"](NeuronSpec(kind="if", reset="subtract"), torch.full((1, 1), 5.25))
    assert answer is not None
    assert float(answer) == 5
