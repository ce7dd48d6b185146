"""Verbs that read boards and write none: ``claims``, ``pareto`` and ``mcnemar``."""

import gc
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from harness import discovery
from harness.cli.options import (
    RESULTS,
    RUNS,
    AsJson,
    DataRoot,
    Names,
    Numbers,
    Out,
    Results,
    SuiteName,
)
from harness.cli.parsing import axes_of
from harness.cli.standings import tell_left_out
from harness.contracts.errors import SpecError

if TYPE_CHECKING:
    from harness.contracts.suite import Suite
    from harness.report import Kind, Leaderboard

boards_app = typer.Typer()


@boards_app.command()
def claims(
    suite: Annotated[str | None, typer.Argument(help="Against this one alone.")] = None,
    *,
    margin: Annotated[
        float | None,
        typer.Option(help="Points by which a mean may miss a claim and still be it; default 0.5."),
    ] = None,
    data_root: DataRoot = None,
    out: Out = RUNS,
    results: Results = RESULTS,
    as_json: AsJson = False,
) -> None:
    """Hold what papers claim against what was measured, yours and published rows together."""
    from harness import report
    from harness.report import claims as held
    from harness.report import visible
    from harness.statistics import EQUIVALENCE_MARGIN

    gc.disable()  # as in ``report``
    allowed = EQUIVALENCE_MARGIN if margin is None else margin / 100
    if not allowed > 0:
        raise SpecError(f"--margin must be positive, got {margin!r}; leave it out for 0.5 points")
    boards = [_board(name, data_root, out, results) for name in _with_claims(suite, out, results)]
    found = report.hold([board for board in boards if board], margin=allowed)
    if as_json:
        for one in found:
            typer.echo(json.dumps(held.to_plain(one)))
        return
    parts = held.to_markdown(found), held.summary(found), held.explanation(allowed)
    typer.echo(visible("\n\n".join(parts)))


@boards_app.command()
def pareto(  # noqa: PLR0913  one option a filter
    suite: SuiteName,
    *,
    cost: Annotated[
        Literal["energy", "operations", "latency", "timesteps"],
        typer.Option(
            metavar="COST",
            help="What accuracy is set against: energy, operations, latency or timesteps.",
        ),
    ] = "energy",
    energy_model: Annotated[
        str | None,
        typer.Option(help="One of `list energies`; default horowitz_45nm_fp32:cached, if known."),
    ] = None,
    timesteps: Numbers = None,
    recipe: Annotated[
        str | None, typer.Option(help="The training budget; default the suite's first.")
    ] = None,
    figure: Annotated[
        Path | None, typer.Option(help="Draw it, too: a file that ends in .svg, .png or .pdf.")
    ] = None,
    data_root: DataRoot = None,
    out: Out = RUNS,
    results: Results = RESULTS,
    as_json: AsJson = False,
) -> None:
    """Set accuracy against what an inference costs, and mark the Pareto front with a star."""
    from harness.report import pareto as held
    from harness.report import remarks, visible, write_figure

    gc.disable()  # as in ``report``
    kind = _kind(figure)
    axes = axes_of(None, timesteps, None, None, None, None)
    board = held.narrowed(
        _require_board(suite, data_root, out, results), recipe=recipe, timesteps=axes.timesteps
    )
    points = held.pareto(board, cost, model=energy_model)
    if as_json:
        for one in points:
            typer.echo(json.dumps(held.to_plain(one)))
    else:
        parts = (
            held.to_markdown(board, points, cost),
            held.explanation(points, cost, model=energy_model),
            *remarks(board),
        )
        typer.echo(visible("\n\n".join(parts)))
    if figure is not None and kind is not None:
        write_figure(board, cost, figure, kind=kind, energy_model=energy_model)
        typer.echo(f"-> {figure}", err=True)


@boards_app.command()
def mcnemar(  # noqa: PLR0913  one option a filter
    suite: SuiteName,
    first: Annotated[str, typer.Argument(help="A method, as the board names it.")],
    second: Annotated[str, typer.Argument(help="Another.")],
    *,
    timesteps: Numbers = None,
    backends: Names = None,
    data_root: DataRoot = None,
    out: Out = RUNS,
    results: Results = RESULTS,
    as_json: AsJson = False,
) -> None:
    """Hold two methods against each other, test sample by test sample: McNemar's test.

    Predictions are read from the cells that were run here; published rows have none.
    """
    from functools import partial

    from harness.engine.publish import decided
    from harness.report import mcnemar as held
    from harness.report import visible
    from harness.store import Store

    gc.disable()  # as in ``report``
    axes = axes_of(None, timesteps, None, backends, None, None)
    board = _require_board(suite, data_root, out, results)
    found = held.mcnemar(
        board,
        first,
        second,
        partial(decided, Store(out)),
        timesteps=axes.timesteps,
        backends=axes.backends,
    )
    for words in found.left_out:
        typer.echo(visible(f"left out: {words}"), err=True)
    if as_json:
        for one in found.pairs:
            typer.echo(json.dumps(one.columns()))
        return
    typer.echo(visible(f"{held.to_markdown(found)}\n\n{held.explanation(found)}"))


def _kind(figure: Path | None) -> "Kind | None":
    """Return what a figure is written as."""
    if figure is None:
        return None
    ending = figure.suffix.lower().removeprefix(".")
    if ending not in ("svg", "png", "pdf"):
        raise SpecError(f"--figure must end in .svg, .png or .pdf, got {str(figure)!r}")
    return cast("Kind", ending)


def _with_claims(suite: str | None, out: Path, results: Path) -> list[str]:
    """Return the suites that have rows on data that a claim is about, or the one asked for."""
    from harness.engine import grid

    methods = discovery.names("methods")
    broken = grid.broken(methods)
    tell_left_out(broken)
    if suite is not None:
        discovery.module_of("suites", suite)
        return [suite]
    cards = map(discovery.method_card, set(methods) - broken.keys())
    claimed = {claim.dataset for card in cards if card for claim in card.claims}
    return [
        name
        for name in discovery.names("suites")
        if (results / name).exists() or (out / name).exists()
        if cast("Suite", discovery.load("suites", name)).dataset in claimed
    ]


def _require_board(suite: str, data_root: Path | None, out: Path, results: Path) -> "Leaderboard":
    board = _board(suite, data_root, out, results)
    if board is None:
        raise SpecError(f"{results} and {out} hold no rows of {suite}; run the suite first")
    return board


def _board(suite: str, data_root: Path | None, out: Path, results: Path) -> "Leaderboard | None":
    from harness.engine.publish import joined

    return joined(suite, runs=out, folder=results, data_root=data_root)
