"""Plug-ins are found by file, loaded by name, and read without importing."""

import subprocess
import sys
from dataclasses import asdict
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from harness import discovery
from harness.contracts.errors import SpecError, UnknownPluginError
from harness.contracts.method import MethodCard

METHODS = discovery.names("methods")


def test_a_misspelt_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownPluginError, match="did you mean logit_kd"):
        discovery.module_of("methods", "logit_dk")


def test_a_name_like_nothing_is_answered_with_all() -> None:
    with pytest.raises(UnknownPluginError, match=r"there are: .*direct, "):
        discovery.module_of("methods", "zzzzzz")


@pytest.mark.parametrize("name", METHODS)
def test_parameters_read_from_source_are_those_of_the_loaded_method(name: str) -> None:
    method = discovery.load("methods", name)
    assert discovery.method_parameters(name) == asdict(method)  # type: ignore[call-overload]  # a method is a frozen dataclass


@pytest.mark.parametrize("name", METHODS)
def test_every_method_here_says_what_it_stands_on(name: str) -> None:
    card = discovery.method_card(name)
    assert isinstance(card, MethodCard)
    assert card.citation
    assert (card.loss == "exact") == (not card.reconstructed)
    for claim in card.claims:
        assert 0 < claim.accuracy < 1
        assert claim.url.startswith("https://"), f"no address for {claim}"


def test_a_card_with_a_value_that_is_no_literal_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _add_method(
        tmp_path, monkeypatch, "odd", "class Odd:\n    rate: float = compute()\nMETHOD = Odd()"
    )
    with pytest.raises(SpecError, match=r"odd.py line 2: 'compute\(\)' is no literal"):
        discovery.method_parameters("odd")


def test_arguments_of_the_instance_overrule_the_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = "class Odd:\n    a: int = 1\n    b: int = 2\nMETHOD = Odd(b=3)"
    _add_method(tmp_path, monkeypatch, "odd", source)
    assert discovery.method_parameters("odd") == {"a": 1, "b": 3}


def test_listing_imports_no_plug_in_and_loading_imports_one() -> None:
    script = """
import sys
from harness import discovery
for kind in discovery.KINDS:
    discovery.names(kind)
assert not [name for name in sys.modules if name.startswith(("suites.", "backends."))
            and name.count(".") > 1], "listing imported a plug-in"
discovery.load("suites", "digits")
assert "suites.cifar10" not in sys.modules
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_third_party_is_found_by_its_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("theirs", "harness.contracts.errors", "snn_distill_bench.models")
    monkeypatch.setattr(
        discovery, "entry_points", lambda group: EntryPoints([point]).select(group=group)
    )
    discovery._modules.cache_clear()
    try:
        assert "theirs" in discovery.names("models")
        with pytest.raises(SpecError, match="must provide MODEL"):
            discovery.load("models", "theirs")
    finally:
        discovery._modules.cache_clear()


def _add_method(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, source: str) -> None:
    file = folder / f"{name}.py"
    file.write_text(source)
    monkeypatch.setattr(discovery, "module_of", lambda _kind, _name: "nowhere")
    monkeypatch.setattr(discovery, "source_of", lambda _module: file)
    discovery._tree.cache_clear()
