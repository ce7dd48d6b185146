"""``--set``: values of a method's parameters as an axis of the grid."""

from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness import cli, discovery
from harness.cli import parsing
from harness.contracts.cell import Cell
from harness.contracts.errors import SpecError, UnknownPluginError
from harness.contracts.row import Metrics, Row
from harness.contracts.tuning import Tuning
from harness.contracts.values import identifying, to_plain
from harness.engine import freshness, glance, grid, proofs
from harness.engine.grid import Axes
from harness.engine.settings import points, settings_of
from harness.results import Published, Trust
from harness.store import Store


def asked(*sets: str, published: Published | None = None, **axes: object) -> list[Cell]:
    few = Axes(methods=("logit_kd", "direct"), timesteps=(1,), seeds=(0,), backends=("norse",))
    found = replace(few, settings=settings_of(sets), **axes)  # type: ignore[arg-type]  # several types
    return grid.cells("digits", found, Store(Path("nowhere")), published or Published())


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("logit_kd.temperature=2,4.5", (2.0, 4.5)),
        ("logit_kd.temperature=1e-1", (0.1,)),
        ("qcfs.levels=4, 8", (4, 8)),
        ("qcfs.quantile=None,0.9", (None, 0.9)),
        ("esd.divide_by_timesteps=false,true", (False, True)),
        ("supersnn.relation=cosine,rkd", ("cosine", "rkd")),
        ("distilling_spikes.assistant=wrn16_2", ("wrn16_2",)),
        ("logit_kd.temperature=2,2.0,4", (2.0, 4.0)),
    ],
)
def test_values_have_the_parameters_type(text: str, values: tuple[object, ...]) -> None:
    [axes] = settings_of([text]).values()
    [found] = axes.values()
    assert found == values
    assert [type(one) for one in found] == [type(one) for one in values]


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("logit_kd.temperature=warm", SpecError, "temperature takes float, got 'warm'"),
        ("logit_kd.temperature=nan", SpecError, "finite"),
        ("logit_kd.temperature=", SpecError, "takes float, got ''"),
        ("logit_kd.temperature=None", SpecError, "takes float, got 'None'"),
        ("logit_kd.temperature=0", SpecError, "takes float, got '0': input should be greater than"),
        ("logit_kd.weight=-1", SpecError, "should be greater than or equal to 0"),
        ("kdsnn.teacher_share=1.5", SpecError, "should be less than or equal to 1"),
        ("qcfs.quantile=1.5", SpecError, "takes float | None, got '1.5': input should be less"),
        ("bsd.bands=0", SpecError, "takes int, got '0': input should be greater than 0"),
        ("qcfs.levels=2.5", SpecError, "levels takes int, got '2.5'"),
        ("esd.divide_by_timesteps=maybe", SpecError, "takes bool, got 'maybe'"),
        ("supersnn.relation=odd", SpecError, "'cosine', 'sp' or 'rkd'"),
        ("logit_kd.tau=2", SpecError, "no parameter 'tau'; there are: temperature, weight"),
        ("direct.weight=2", SpecError, "direct has no parameter 'weight'; it has none"),
        ("logit_dk.weight=2", UnknownPluginError, "did you mean logit_kd"),
        ("logit_kd.temperature", SpecError, "takes METHOD.PARAMETER=VALUES"),
        ("temperature=2", SpecError, "takes METHOD.PARAMETER=VALUES"),
    ],
)
def test_what_is_unknown_or_of_another_type_is_refused(
    text: str, error: type[Exception], words: str
) -> None:
    with pytest.raises(error) as raised:
        settings_of([text])
    assert words in str(raised.value)


@pytest.mark.parametrize("name", discovery.names("methods"))
def test_every_parameter_takes_its_own_default(name: str) -> None:
    for key, value in discovery.method_parameters(name).items():
        [axes] = settings_of([f"{name}.{key}={value}"]).values()
        assert axes == {key: (value,)}
        assert type(axes[key][0]) is type(value)


def test_several_axes_are_a_product_and_other_methods_stay_as_they_are() -> None:
    found = asked("logit_kd.temperature=2,4", "logit_kd.weight=1,3", "logit_kd.weight=9")
    swept = [cell for cell in found if cell.method == "logit_kd"]
    assert [cell.params for cell in swept] == [
        {"temperature": temperature, "weight": weight}
        for temperature in (2.0, 4.0)
        for weight in (1.0, 3.0, 9.0)
    ]
    assert len({cell.cell_id for cell in found}) == 7
    [direct] = [cell for cell in found if cell.method == "direct"]
    assert direct.label == "direct digits_convnet norse T=1 seed=0"
    assert points({}) == [{}]


def test_the_label_says_what_is_set_and_the_identity_what_it_is() -> None:
    swept, default = asked("logit_kd.temperature=4")[0], asked()[0]
    assert swept.label.startswith("logit_kd[temperature=4] digits_convnet")
    assert default.label.startswith("logit_kd digits_convnet")
    assert swept == default
    assert swept.cell_id == default.cell_id
    assert "spelt" not in {**identifying(swept), **to_plain(swept)}
    assert "spelt" not in Row(cell=swept, status="failed", error="no").to_json()
    assert asked("logit_kd.temperature=0.1")[0].label.startswith("logit_kd[temperature=0.1] ")


def test_a_cell_that_has_a_row_is_still_called_by_what_was_set(tmp_path: Path) -> None:
    swept = asked("logit_kd.temperature=2,4")
    store = Store(tmp_path)
    for cell in swept:
        store.save(Row(cell=cell, status="failed", error="no"))
    found = freshness.standings(swept, store, Published(), proofs.Verified(), data_root=None)
    assert [one.cell.label for one in found] == [cell.label for cell in swept]


def test_names_and_numbers_count_once() -> None:
    assert parsing.names(["direct,tet", "direct"], "--methods") == ("direct", "tet")
    assert parsing.numbers(["7,7", "1", "07"], "--seeds") == (7, 1)


def test_what_is_set_wins_over_what_tuning_chose_and_is_said() -> None:
    tuning = Tuning(
        method="logit_kd",
        model="digits_convnet",
        recipe_name="short",
        seed=1000,
        timesteps=2,
        backend="norse",
        learning_rate=0.3,
        params={"weight": 3.0},
    )
    known = Published(tunings=(tuning,))
    other, *_ = asked("logit_kd.temperature=2", published=known)
    assert (other.params, other.recipe.learning_rate) == ({"temperature": 2.0, "weight": 3.0}, 0.3)
    both, *_ = asked("logit_kd.weight=9", published=known)
    assert (both.params, both.recipe.learning_rate) == ({"temperature": 4.0, "weight": 9.0}, 0.3)
    axes = Axes(settings=settings_of(["logit_kd.weight=9", "logit_kd.temperature=2"]))
    [said] = grid.overruled("digits", axes, known)
    assert said.startswith("logit_kd.weight on digits_convnet is as set, not the 3.0 that tuning")
    assert grid.overruled("digits", replace(axes, as_chosen=False), known) == []


def test_a_method_that_is_not_asked_for_cannot_be_set() -> None:
    with pytest.raises(SpecError, match="--set tet: that method is not among those asked for"):
        asked("tet.share=0.1")


def test_plan_tells_swept_cells_apart(tmp_path: Path) -> None:
    words = ("plan", "digits", "--methods", "logit_kd", "--timesteps", "1", "--seeds", "0")
    places = ("--backends", "norse", "--out", str(tmp_path), "--results", str(tmp_path))
    told = CliRunner().invoke(cli.app, (*words, *places, "--set", "logit_kd.temperature=2,8"))
    assert told.exit_code == 0, told.output
    assert "logit_kd[temperature=2] " in told.output
    assert "logit_kd[temperature=8] " in told.output
    assert "2 cells: 2 missing" in told.output


def scored(cell: Cell, accuracy: float) -> Row:
    metrics = Metrics(score=accuracy, score_low=0.0, score_high=1.0, n_test=100)
    return Row(cell=cell, status="ok", metrics=metrics)


def test_a_run_ends_with_a_line_a_method_and_a_line_a_reason() -> None:
    found = asked("logit_kd.temperature=2,8", seeds=(0, 1), timesteps=(1, 2))
    rows = [
        Row(cell=cell, status="failed", error="no luck\nat all")
        if cell.method == "direct" and cell.timesteps == 2
        else scored(cell, 0.5 + 0.1 * cell.seed + (cell.params.get("temperature") == 8) / 4)
        for cell in found
    ]
    lines = glance.table(rows, mine={rows[0].cell_id: "here"})
    # Two seeds, 0.5 and 0.6: half of the t interval is 12.706 x 0.0707 / sqrt 2 = 0.635.
    assert lines == [
        "       accuracy %               T = 1    T = 2",
        "       logit_kd[temperature=8]  80 ± 64  80 ± 64",
        "       direct                   55 ± 64  failed",
        "yours  logit_kd[temperature=2]  55 ± 64  55 ± 64",
    ]
    # A line with rows that were merged is believed as far as the least trusted of them.
    two = [row.cell_id for row in rows if row.cell.params.get("temperature") == 2]
    levels: dict[str, Trust] = {two[0]: "here", two[1]: "verified"}
    assert glance.table(rows, mine=levels)[-1].startswith("merged, verified  logit_kd[temp")
    levels[two[2]] = "claimed"
    assert glance.table(rows, mine=levels)[-1].startswith("merged, claimed  logit_kd[temp")
    assert glance.failures(rows) == ["2 failed: direct: no luck"]
    assert glance.failures([scored(found[0], 0.5)]) == []
    # However many methods failed by it, a reason has its own hundred characters.
    why = [replace(row, error="x" * 99 + "yz") for row in rows if row.status == "failed"]
    assert glance.failures(why) == [f"2 failed: direct: {'x' * 99}y"]


def test_entries_that_differ_in_the_learning_rate_alone_have_a_line_each() -> None:
    [cell] = asked(methods=("direct",))
    rows = [
        scored(replace(cell, recipe=replace(cell.recipe, learning_rate=rate)), rate)
        for rate in (0.25, 0.5)
    ]
    names = [line.split("  ")[0] for line in glance.table(rows)]
    assert names[1:] == ["direct[learning rate=0.5]", "direct[learning rate=0.25]"]


def test_the_best_have_all_that_is_asked_for() -> None:
    found = asked(seeds=(0, 1))
    rows = [scored(cell, 0.9 if cell.method == "direct" else 0.5) for cell in found]
    places = {(1, 0), (1, 1)}
    assert glance.best(rows, places) == ["direct", "logit_kd"]
    assert glance.best(rows, places, many=1) == ["direct"]
    lacking = [row for row in rows if (row.cell.method, row.cell.seed) != ("direct", 1)]
    assert glance.best(lacking, places) == ["logit_kd"]
