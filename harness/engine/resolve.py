"""A cell's names, looked up once: its plug-ins as values, and its student."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from harness import discovery, fingerprint
from harness.contracts.backend import Backend
from harness.contracts.cell import START, Cell
from harness.contracts.dataset import Dataset, DatasetCard, Splits
from harness.contracts.errors import BudgetError, SpecError, UnsupportedError
from harness.contracts.method import Method, Realises, Track
from harness.contracts.model import Model, taken_by
from harness.contracts.neuron import NeuronSpec
from harness.contracts.recipe import Recipe
from harness.contracts.task import Task
from harness.data import catalogue, unlabelled
from harness.data.encoding import Encoder, Presentation, direct
from harness.engine.meaning import unmeant
from harness.neurons.activation import activation
from harness.seeds import torch_seed
from harness.training.convolving import by_products
from harness.training.student import Student, no_simulator

# What opens splits or holds them.
OUT_OF_REACH = (
    *("harness.engine", "harness.evaluation", "harness.results", "harness.store"),
    "suites.datasets",
)


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """What a cell's names stand for.

    Attributes:
        cell: As asked.
        dataset: Unopened.
        model: The student's topology.
        method: With the cell's parameters.
        uses_teacher: Whether it asks one.
        teacher_stays: Whether it says that the teacher learns nothing from it.
        track: What it says the student is given.
        task: What is asked of a sample.
        backend: None for an artificial network.
        encoder: None for a constant current.
    """

    cell: Cell
    dataset: Dataset[Any]
    model: Model
    method: Method
    uses_teacher: bool
    teacher_stays: bool
    track: Track
    task: Task
    backend: Backend | None
    encoder: Encoder | None

    @property
    def card(self) -> DatasetCard:
        """What is known of the data set."""
        return self.dataset.card

    @property
    def recipe(self) -> Recipe:
        """The training budget."""
        return self.cell.recipe

    def presentation(self) -> Presentation:
        """Return how samples reach the student."""
        plain = direct(self.card)
        if self.encoder is None:
            return plain
        timesteps, seed = self.cell.timesteps, self.cell.seed
        return replace(plain, encoder=self.encoder, timesteps=timesteps, seed=seed)

    def student(self, device: torch.device) -> Student:
        """Return the network that learns, untrained.

        Raises:
            UnsupportedError: If simulator or method cannot mean it, with the reason.
        """
        cell, backend, spec = self.cell, self.backend, self.cell.neuron
        drawn: Any = {"seed": cell.seed, "timesteps": cell.timesteps, "device": device}
        if backend is None or spec is None:
            return build(self.model, nn.ReLU, self.card, **drawn)

        def neuron(spec: NeuronSpec) -> nn.Module:
            return activation(backend, spec, through_compiler=self.recipe.compiled)()

        student = build(
            self.model, lambda: neuron(spec), self.card, **drawn, spec=spec, neuron=neuron
        )
        if isinstance(self.method, Realises):
            self.method.realise(student)
        if self.recipe.compiled:
            by_products(student.network)
        return student

    def on(self, name: str) -> "Resolved | None":
        """Return the same on another simulator, or None if that is not here or cannot mean it."""
        try:
            backend = cast(Backend, discovery.load("backends", name))
        except ModuleNotFoundError:  # not installed: nothing to compare with
            return None
        if self.cell.neuron is None or backend.unsupported(self.cell.neuron):
            return None
        return replace(self, cell=replace(self.cell, backend=name), backend=backend)


def resolve(cell: Cell) -> Resolved:
    """Look everything up that ``cell`` names.

    Raises:
        UnknownPluginError: For a name that does not exist.
        SpecError: If the method does not take the cell's parameters.
        BudgetError: If its code could open data by itself.
        UnsupportedError: If model or method does not mean such a task, with the reason.
    """
    refuse_reach(discovery.module_of("methods", cell.method))
    said = discovery.method_card(cell.method)
    asks = said is None or said.uses_teacher or cell.starts_from_teacher
    dataset = catalogue.load(cell.dataset)
    model = cast(Model, discovery.load("models", cell.model))
    task = task_of(cell.dataset)
    refuse_unfit(cell.model, cell.dataset)
    if reason := unmeant(cell.method, cell.dataset):
        raise UnsupportedError(reason)
    return Resolved(
        cell=cell,
        dataset=dataset,
        model=model,
        task=task,
        method=_method(cell.method, cell.params),
        uses_teacher=cell.teacher is not None and asks,
        teacher_stays=said is not None and not said.teacher_learns,
        track="inherited" if cell.starts_from_teacher else said.track if said else "scratch",
        backend=cast(Backend, discovery.load("backends", cell.backend)) if cell.backend else None,
        encoder=cast(Encoder, discovery.load("encoders", cell.encoder)) if cell.encoder else None,
    )


@lru_cache(maxsize=2)  # a cell's, and that of its canary's teacher
def opened(dataset: str, data_root: Path | None, timesteps: int, /) -> Splits[Any]:
    """Return the splits of a data set, as all cells of a process see them.

    Raises:
        DataError: If the data is missing or damaged.
    """
    return catalogue.load(dataset).load(data_root, timesteps=timesteps)


def opened_for(cell: Cell, data_root: Path | None, /) -> Splits[Any]:
    """Return the splits of a cell, with the unlabelled text that its method is given.

    Raises:
        UnsupportedError: If its data set can read no text.
        DataError: If something is missing or damaged.
    """
    splits = opened(cell.dataset, data_root, cell.timesteps)
    if cell.unlabelled is None:
        return splits
    text = unlabelled.opened(cell.dataset, data_root, cell.unlabelled)
    return replace(splits, unlabelled=text.samples)


def task_of(dataset: str, /) -> Task:
    """Return what is asked of a sample of a data set.

    Raises:
        UnknownPluginError: If there is no such data set or task.
    """
    return cast(Task, discovery.load("tasks", catalogue.load(dataset).card.task))


def refuse_unfit(model: str, dataset: str, /) -> None:
    """Refuse a model of other samples.

    Raises:
        UnsupportedError: Names what it takes, and what a sample is.
    """
    kind = taken_by(cast(Model, discovery.load("models", model)))
    given = type(catalogue.load(dataset).card.input)
    if not issubclass(given, kind):
        raise UnsupportedError(
            f"{model} takes {kind.__name__}, and a sample of {dataset} is {given.__name__}"
        )


def refuse_reach(module: str, /) -> None:
    """Refuse a method whose imports, followed through all first-party code, lead to data.

    So that test samples and validation labels reach none by mistake. It is no sandbox: what
    a method loads through other packages is for its readers to see.

    Raises:
        BudgetError: Names the module that is out of reach.
    """
    for name in fingerprint.closure((module,)):
        if name.startswith(OUT_OF_REACH):
            raise BudgetError(
                f"{module} imports {name}, from where test data and validation labels can be "
                "read; a method is given its lesson alone"
            )


def _method(name: str, params: Mapping[str, Any]) -> Method:
    method = cast(Method, discovery.load("methods", name))
    its_own = {key: value for key, value in params.items() if key != START}
    try:
        return replace(method, **its_own)  # type: ignore[type-var]  # every method is a frozen dataclass
    except TypeError as error:
        raise SpecError(f"suites/methods/{name}.py: {error}") from error


def build(
    model: Model,
    activation: Callable[[], nn.Module],
    card: DatasetCard,
    /,
    *,
    seed: int,
    timesteps: int,
    device: torch.device,
    spec: NeuronSpec | None = None,
    neuron: Callable[[NeuronSpec], nn.Module] = no_simulator,
) -> Student:
    """Return ``model`` with ``activation`` in its slots and weights drawn from ``seed``.

    The weights depend on the seed alone, so realisations of one topology start equal.
    ``spec`` and ``neuron`` are what the student says of its simulator.
    """

    def realised(activation: Callable[[], nn.Module]) -> nn.Module:
        # Any: torch's stubs know no memory_format.
        network: Any = model.build(activation, input=card.input, output=card.output)
        placed: nn.Module = network.to(device=device, memory_format=torch.channels_last)
        return placed

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch_seed(seed, "weights"))
        network = realised(activation)
    return Student(
        network=network,
        timesteps=timesteps,
        twin=realised,
        spec=spec or NeuronSpec(),
        neuron=neuron,
    )
