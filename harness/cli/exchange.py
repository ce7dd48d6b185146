"""The command line's ``export`` and ``import``."""

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from harness.cli.options import RESULTS, RUNS, AsJson, CellId, DataRoot, Exit, Results, Runs
from harness.cli.parsing import floats
from harness.contracts.errors import SpecError

if TYPE_CHECKING:
    from harness.engine.resolve import Resolved
    from harness.exchange.comparing import Comparison
    from harness.exchange.judging import Judged
    from harness.training.student import Student

NetworkFile = Annotated[Path, typer.Argument(metavar="FILE", help="The network's.")]
Timesteps = Annotated[int, typer.Option(help="Steps a sample is simulated for.")]
DatasetName = Annotated[str, typer.Option("--dataset", help="What it is tested on.")]
Precision = Annotated[
    Literal["float32", "float64"], typer.Option(help="Of the weights, and of what is computed.")
]
Claim = Annotated[
    str | None,
    typer.Option("--claims", help="The accuracy that is claimed, in percent: is it so?"),
]
PerChannel = Annotated[
    str | None, typer.Option(help="Of the inputs, one a channel, comma-separated; by default ours.")
]
StepSeconds = Annotated[
    float | None, typer.Option("--dt", help="What a step lasts, in seconds; 1e-4 if none says.")
]


class _FileOrVerb(TyperGroup):
    """A group whose first argument may be a file: ``import F.nir`` is ``import nir F.nir``."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        verb = args if args and args[0] in self.commands else ["nir", *args]
        return super().resolve_command(ctx, verb)


import_app = typer.Typer(
    cls=_FileOrVerb,
    help="Evaluate and meter a network from elsewhere: FILE.nir, or a checkpoint.",
    no_args_is_help=True,
)


def export(  # noqa: PLR0913  one option a question
    cell: CellId,
    *,
    to: Annotated[Literal["nir", "onnx"], typer.Option(help="The format.")],
    out: Annotated[Path, typer.Option(help="The file to write; runs are read from --runs.")],
    runs: Runs = RUNS,
    results: Results = RESULTS,
    precision: Annotated[
        Literal["float32", "float64"],
        typer.Option(help="Of the file. Most tools read, and run, float32 alone."),
    ] = "float32",
    step_s: StepSeconds = None,
    check: Annotated[
        Literal["dynapcnn"] | None,
        typer.Option(help="Say, too, whether the NIR would fit that chip, and on which cores."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a cell's trained student as NIR, or unrolled over its steps as ONNX."""
    import torch

    from harness.exchange.stored import shown_to, student_of

    if to == "onnx":
        _require_nir(step_s, check)
    found, row, student = student_of(cell, runs=runs, published=results)
    student.network.to(getattr(torch, precision))
    shown = shown_to(found)
    told: dict[str, Any] = {"cell_id": row.cell_id, "file": str(out), **shown}
    if to == "nir":
        told |= _as_nir(found, student, out, shown, step_s, check)
    else:
        told |= _as_onnx(found, student, out, shown)
    if as_json:
        print(json.dumps(told))
        return
    written = f"{told['nodes']} nodes, {told['file_bytes']} bytes -> {out}"
    print(f"{found.cell.label}: {written}; {_use(told)}")
    for line in told[check]["lines"] if check else ():
        print(f"{check}: {line}")


def _require_nir(step_s: float | None, check: str | None) -> None:
    if step_s is not None:
        raise SpecError("--dt is for --to nir: ONNX knows no time")
    if check is not None:
        raise SpecError("--check is for --to nir: ONNX knows no neurons, and they are looked at")


def _as_nir(
    found: "Resolved",
    student: "Student",
    out: Path,
    shown: Mapping[str, Any],
    step_s: float | None,
    check: str | None,
) -> dict[str, Any]:
    """Write a file of NIR; return what is to be told of it."""
    from harness.exchange import nir_export
    from harness.neurons.spiking import SpikingNeuron

    options: dict[str, Any] = {} if step_s is None else {"dt_s": step_s}
    network, shape = student.network, found.card.image.shape
    graph = nir_export.to_nir(network, shape, shown=shown, **options)
    nir_export.write(graph, out)
    neurons = (part for part in network.modules() if isinstance(part, SpikingNeuron))
    if any(one.spec.reset == "subtract" for one in neurons):
        print(
            "note: NIR has no reset by subtraction; other readers than this one reset to zero",
            file=sys.stderr,
        )
    told = {"nodes": len(graph.nodes), "file_bytes": out.stat().st_size}
    if check is None:
        return told
    from harness.exchange import dynapcnn

    fits, lines = dynapcnn.told(graph)
    return told | {check: {"fits": fits, "lines": lines}}


def _as_onnx(
    found: "Resolved", student: "Student", out: Path, shown: Mapping[str, Any]
) -> dict[str, Any]:
    """Write a file of ONNX for one sample; return what is to be told of it."""
    from harness.exchange.onnx_export import to_onnx
    from harness.exchange.stored import takes_frames

    written = to_onnx(
        student.network,
        found.card.image.shape,
        out,
        timesteps=student.timesteps,
        frames=takes_frames(found),
        shown=shown,
    )
    return {"nodes": written.nodes, "file_bytes": written.file_bytes, "samples": 1}


def _use(told: Mapping[str, Any]) -> str:
    """Return in a few words how a file is to be used."""
    names = ("mean", "std", "encoder", "encoder_seed")
    numbers = [f"{name} {told[name]}" for name in names if name in told]
    words = [", ".join([f"inputs {told['inputs']}", *numbers]), f"T = {told['timesteps']}"]
    batch = [f"batch of {told['samples']}"] if "samples" in told else []
    return "; ".join([*words, *batch, "the answer is the mean over steps"])


@import_app.command("nir")
def import_nir(  # noqa: PLR0913  one option a question
    file: NetworkFile,
    *,
    dataset: DatasetName,
    timesteps: Timesteps,
    backend: Annotated[str, typer.Option(help="The simulator of its neurons.")] = "reference",
    precision: Precision = "float32",
    step_s: StepSeconds = None,
    mean: PerChannel = None,
    std: PerChannel = None,
    claim: Claim = None,
    cell: Annotated[
        str | None,
        typer.Option(help="A cell that was run here, by how it begins: is it the same network?"),
    ] = None,
    runs: Runs = RUNS,
    results: Results = RESULTS,
    data_root: DataRoot = None,
    as_json: AsJson = False,
) -> None:
    """Build a student from a file of NIR, evaluate and meter it.

    Exit code 1 if it decides or counts otherwise than the --cell it is compared with.
    """
    from harness.exchange import comparing, judging
    from harness.exchange.nir_import import from_nir, metadata_of, read, timesteps_of

    graph = read(file)
    if (trained := timesteps_of(graph)) not in (None, timesteps):
        told = f"note: its student was trained for T = {trained}, and --timesteps is {timesteps}"
        print(told, file=sys.stderr)
    evidence = None
    if cell is not None:
        evidence = comparing.evidence_of(
            cell, dataset=dataset, timesteps=timesteps, runs=runs, published=results
        )
    network = from_nir(graph, judging.neurons_of(backend), dt_s=step_s)
    student = judging.as_student(network, timesteps=timesteps)
    said = metadata_of(graph)
    judged = _judged(
        student, dataset, data_root, mean, std, said=said, precision=precision, claim=claim
    )
    found = comparing.compare(judged, evidence) if evidence else None
    _tell(f"{file.name} on {backend}", judged, claim, found, as_json=as_json)
    if found is not None and not found.is_equal:
        raise typer.Exit(Exit.SOME_FAILED)


@import_app.command("checkpoint")
def import_checkpoint(  # noqa: PLR0913  one option a question
    file: NetworkFile,
    *,
    module: Annotated[
        str,
        typer.Option(help="package.module:factory that makes it. Code that you trust: it runs."),
    ],
    dataset: DatasetName,
    timesteps: Timesteps,
    call: Annotated[
        Literal["step", "train"],
        typer.Option(help="Call it once a step with [N, ...], or once with [T, N, ...]."),
    ] = "step",
    precision: Precision = "float32",
    mean: PerChannel = None,
    std: PerChannel = None,
    claim: Claim = None,
    data_root: DataRoot = None,
    as_json: AsJson = False,
) -> None:
    """Evaluate and meter a SpikingJelly or snnTorch network with its weights (no code in them)."""
    from harness.exchange import foreign, judging

    student = judging.as_student(foreign.load(module, file, call=call), timesteps=timesteps)
    judged = _judged(student, dataset, data_root, mean, std, precision=precision, claim=claim)
    _tell(f"{file.name} in {module}", judged, claim, as_json=as_json)


def _judged(
    student: "Student",
    dataset: str,
    data_root: Path | None,
    mean: str | None,
    std: str | None,
    *,
    said: Mapping[str, Any] | None = None,
    precision: Literal["float32", "float64"],
    claim: str | None,
) -> "Judged":
    from harness.exchange import judging

    shown = judging.presentation_of(
        dataset,
        mean=floats("--mean", mean),
        std=floats("--std", std),
        said=said,
        timesteps=student.timesteps,
    )
    return judging.judge(
        student,
        dataset,
        presentation=shown,
        data_root=data_root,
        precision=precision,
        claim=claim,
    )


def _tell(
    what: str,
    judged: "Judged",
    claim: str | None,
    compared: "Comparison | None" = None,
    *,
    as_json: bool,
) -> None:
    """Print what came out. It is no row: a row says how its network was trained."""
    columns = judged.columns()
    if compared is not None:
        columns["compared"] = asdict(compared)
    if as_json:
        print(json.dumps({"what": what, **columns}))
        return
    score, samples = judged.verdict.score, len(judged.verdict.labels)
    value, low, high = map(
        judged.verdict.task.metric.scale.told, (score.value, score.low, score.high)
    )
    print(
        f"{what}: {value} on {samples} test samples ({low} to {high}) after "
        f"{len(judged.verdict.logits)} steps"
    )
    if judged.as_claimed is not None:
        print(f"{'as claimed' if judged.as_claimed else 'not as claimed'}: {claim} %")
    if compared is not None:
        print(f"against cell {compared.cell_id}: {compared.line()}")
    print("operations a sample:", end=" ")
    samples = judged.ledger.samples
    print(", ".join(f"{name} {count / samples:.1f}" for name, count in columns["counts"].items()))
    for model, energy_pj in columns["energy_pj"].items():
        print(f"  {model}: {_energy(judged, model, energy_pj)}")


def _energy(judged: "Judged", model: str, energy_pj: float | None) -> str:
    from harness.energy import unpriced

    if energy_pj is None:
        return f"no price for {'; '.join(unpriced(judged.ledger.summed(), model))}"
    return f"{energy_pj / 1e6:.4f} uJ a sample"
