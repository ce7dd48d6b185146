"""Claims against rows whose every number is known, and what a student was given."""

import csv
import json
import re
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from harness import discovery
from harness.cli.boards import boards_app
from harness.contracts.cell import TeacherIdentity
from harness.contracts.errors import HarnessError, SpecError, UnknownPluginError
from harness.contracts.method import Claim, MethodCard
from harness.contracts.row import Row
from harness.contracts.unlabelled import UnlabelledText
from harness.report import (
    Leaderboard,
    _board,
    claims,
    hold,
    leaderboard,
    pareto,
    render,
    to_csv,
    to_html,
    to_json,
    write_board,
    write_figure,
)
from tests.report.rows import (
    BUDGET,
    SUITE,
    TEACHER,
    board_rows,
    right,
    teacher,
    with_cell,
    with_metrics,
    with_provenance,
    wrong,
)
from tests.report.test_leaderboard import HOSTILE

CLAIM = Claim(
    accuracy=0.91, dataset="squares", architecture="Tiny", timesteps=2, where="table 1", epochs=3
)
CARD = MethodCard(title="An idea", citation="Somebody, 2020", loss="exact", setting="authors")


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch) -> dict[str, MethodCard]:
    """Return the cards that there are, to be filled."""
    known: dict[str, MethodCard] = {}
    for module in (_board, claims):
        monkeypatch.setattr(module, "card_of", known.get)
    return known


def claiming(**changes: Any) -> MethodCard:
    return replace(CARD, claims=(replace(CLAIM, **changes),))


def runs(*correct: int, method: str = "mine", **where: Any) -> list[Row]:
    return [right(method, count, seed=seed, **where) for seed, count in enumerate(correct)]


def held(rows: list[Row], **options: Any) -> claims.Held:
    (found,) = hold([leaderboard(rows, suite=SUITE)], methods=["mine"], **options)
    return found


def test_a_mean_within_the_margin_is_a_reproduction(cards: dict[str, MethodCard]) -> None:
    cards["mine"] = claiming()
    # Of 400: 364 is .91, and t(4) .95 = 2.132 times .79/400/sqrt(5) is far below a half point.
    found = held(runs(364, 365, 363, 364, 364))
    assert (found.verdict, found.said, found.why) == ("reproduced", "reproduced", "")
    assert found.equivalence is not None
    assert found.equivalence.margin == 0.005
    assert found.differs == ("teacher not said, here tiny",)
    # The same three seeds are provisional.
    assert held(runs(364, 365, 363)).said in {"reproduced?", "within noise?"}


@pytest.mark.parametrize(
    ("correct", "verdict"),
    [
        ((340, 341, 339, 340, 340), "lower"),
        ((390, 391, 389, 390, 390), "higher"),
        ((330, 395, 350, 380, 365), "within noise"),
    ],
)
def test_what_is_no_reproduction(
    cards: dict[str, MethodCard], correct: tuple[int, ...], verdict: str
) -> None:
    cards["mine"] = claiming()
    assert held(runs(*correct)).verdict == verdict


def test_the_margin_is_stated_and_may_be_another(cards: dict[str, MethodCard]) -> None:
    cards["mine"] = claiming()
    near = runs(356, 357, 355, 356, 356)  # .89, two points below
    assert held(near).verdict == "lower"
    assert held(near, margin=0.05).verdict == "reproduced"
    assert "±0.5 points" in claims.explanation()
    assert "±5 points" in claims.explanation(0.05)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"architecture": "Tiny-2"}, "student Tiny-2, here tiny"),
        ({"timesteps": 4}, "T = 4, here 2"),
        ({"timesteps": None}, "T not said, here 2"),
        ({"epochs": 300}, "300 epochs, here 3"),
        ({"epochs": None}, "epochs not said, here 3"),
        ({"architecture": "Tiny, teacher Large"}, "teacher Large, here tiny"),
    ],
)
def test_another_recipe_is_not_compared_and_the_reason_is_told(
    cards: dict[str, MethodCard], changes: dict[str, Any], why: str
) -> None:
    cards["mine"] = claiming(**changes)
    found = held(runs(364, 365, 363, 364, 364))
    assert (found.verdict, found.why, found.equivalence) == ("not comparable", why, None)
    assert found.differs[0] == why
    assert found.ours is not None
    assert claims.to_plain(found)["difference"] is None


def test_a_part_of_the_images_is_another_budget(cards: dict[str, MethodCard]) -> None:
    cards["mine"] = claiming()
    part = replace(BUDGET, train_samples=38_400)
    rows = [with_cell(row, recipe=part) for row in runs(364, 365)]
    assert held(rows).why == "3 epochs, here 3 of 38,400 images"


def test_one_seed_is_compared_with_nothing(cards: dict[str, MethodCard]) -> None:
    cards["mine"] = claiming()
    found = held(runs(364))
    assert (found.verdict, found.why, found.equivalence) == ("not comparable", "one seed", None)
    assert "| not comparable | one seed; teacher not said" in claims.to_markdown([found])


def test_what_was_not_run_says_so_and_has_no_number(cards: dict[str, MethodCard]) -> None:
    cards["mine"] = claiming()
    found = held(runs(364, method="other"))
    assert (found.verdict, found.why) == ("not run", "no row of it on squares")
    assert found.has_data
    plain = claims.to_plain(found)
    assert plain["ours"] is None
    assert plain["difference"] is None
    assert "| 91.00 | — | — |" in claims.to_markdown([found, held(runs(364, 365))])
    failed = held([wrong("mine", "diverged", "loss is nan"), *runs(300, method="other")])
    assert (failed.verdict, failed.why) == ("not run", "no number on squares: 1 diverged")
    cards["mine"] = claiming(dataset="circles")
    elsewhere = held(runs(364))
    assert (elsewhere.verdict, elsewhere.why) == ("not run", "no row on circles")
    assert not elsewhere.has_data


def test_the_nearest_recipe_is_taken_whatever_it_scored(cards: dict[str, MethodCard]) -> None:
    cards["mine"] = claiming(timesteps=4)
    rows = [
        *runs(364, 365, timesteps=2),
        *runs(100, 101, timesteps=4),
        *runs(399, 398, timesteps=8),
        *[with_cell(row, model="other") for row in runs(364, 364, timesteps=4)],
    ]
    found = held(rows)
    assert found.cell is not None
    assert (found.cell.timesteps, found.cell.model) == (4, "tiny")
    assert found.verdict == "lower"


def test_a_named_teacher_is_read_from_the_claim(cards: dict[str, MethodCard]) -> None:
    cards["mine"] = claiming(architecture="TINY, teacher T-iny")
    found = held(runs(364, 365, 363, 364, 364))
    assert (found.verdict, found.differs) == ("reproduced", ())
    large = replace(TEACHER, model="large")
    assert isinstance(large, TeacherIdentity)
    other = held([with_cell(row, teacher=large) for row in runs(364, 365)])
    assert other.why == "teacher T-iny, here large"


def test_what_else_differs_stands_beside_the_verdict(cards: dict[str, MethodCard]) -> None:
    cards["mine"] = replace(claiming(), loss="reconstructed", setting="ours")
    faster = replace(BUDGET, learning_rate=0.9)
    rows = [with_cell(row, recipe=faster) for row in runs(364, 365, 363, 364, 364)]
    found = held(rows)
    assert found.verdict == "reproduced"
    assert found.differs == (
        "teacher not said, here tiny",
        "neurons, norms and read-out are the suite's",
        "loss reconstructed",
        "set here: learning rate 0.9",
    )


def test_every_claim_of_the_method_files_is_held() -> None:
    known = map(discovery.method_card, discovery.names("methods"))
    claimed = [claim for card in known if card for claim in card.claims]
    found = hold([])
    assert [one.claim for one in found] == claimed
    assert {one.verdict for one in found} == {"not run"}
    assert claims.summary(found).startswith(f"{len(claimed)} published results of ")


def test_a_board_tells_of_claims_on_its_data_and_counts_the_others(
    cards: dict[str, MethodCard],
) -> None:
    cards["mine"] = replace(
        CARD, claims=(CLAIM, replace(CLAIM, dataset="circles"), replace(CLAIM, dataset="circles"))
    )
    board = leaderboard(runs(364, 365, 363, 364, 364), suite=SUITE)
    text = render(board, command="x")
    assert "3 published results of 1 method: 1 reproduced, 2 not run." in text
    assert "Not run, for they are about other data than these: 2 circles." in text
    told = text.partition("## Claims against reproduced")[2]
    assert "| mine | squares | Tiny | 2 | 3 | 91.00 | 91.00 ± 0.22 | +0.00 ± 0.22 |" in told
    assert told.count("| mine |") == 1
    assert [one["verdict"] for one in json.loads(to_json(board, command="x"))["claims"]] == [
        "reproduced",
        "not run",
        "not run",
    ]
    assert '<h2 id="claims-title">' in to_html(board, command="x")
    assert "Claims against" not in render(leaderboard(board_rows(), suite=SUITE), command="x")


def test_hostile_claims_are_text_in_every_format(
    cards: dict[str, MethodCard], tmp_path: Path
) -> None:
    cards["mine"] = claiming(architecture=HOSTILE, where=HOSTILE, url="javascript:alert(1)")
    write_board(leaderboard(runs(364), suite=SUITE), tmp_path, command="x", page=True)
    for kind in ("md", "json", "html"):
        text = (tmp_path / f"leaderboard.{kind}").read_text(encoding="utf-8")
        assert not {"\x1b", "\u202e", "\ud800"} & set(text)
    marked = (tmp_path / "leaderboard.md").read_text(encoding="utf-8")
    assert r"\<script\>alert(1)\</script\> \[free\](javascript:alert(1)) \|" in marked
    for unescaped in ("<script", "[free]"):
        assert not re.search(rf"(?<!\\){re.escape(unescaped)}", marked)
    page = (tmp_path / "leaderboard.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; [free](javascript:alert(1)) |" in page
    whole = json.loads((tmp_path / "leaderboard.json").read_text(encoding="utf-8"))
    assert whole["claims"][0]["claim"]["where"] == HOSTILE


def test_reconstructed_methods_are_marked_wherever_they_stand(
    cards: dict[str, MethodCard],
) -> None:
    cards["mine"] = replace(claiming(), loss="reconstructed")
    rows = [*runs(364, 365), wrong("mine", "oom", "too large", seed=2), *runs(360, method="direct")]
    rows += runs(362, backend="beta")
    text = render(leaderboard(rows, suite=SUITE), command="x").partition("### At a glance")[2]
    cells = [cell.strip() for line in text.splitlines() for cell in line.split("|")]
    shown = [cell for cell in cells if cell.startswith("mine")]
    assert len(shown) > 6
    assert set(shown) == {"mine †", "mine, 1/3 seeds †", "mine, 2/3 seeds †"}
    assert "direct †" not in text


def lines(rows: list[Row], **options: Any) -> dict[str, _board.Line]:
    board = leaderboard(rows, suite=SUITE, teachers=[teacher()], **options)
    return {line.method: line for setting in board.settings for line in setting.lines}


def test_what_was_given_is_read_from_card_cell_and_row(cards: dict[str, MethodCard]) -> None:
    cards["direct"] = replace(CARD, uses_teacher=False, signals=())
    cards["mine"] = replace(
        CARD, signals=("logits", "weights"), extras=("a layer", "another"), teacher_learns=True
    )
    rows = [
        with_metrics(right("direct", 360), train_samples=300),
        with_metrics(right("mine", 364), train_samples=150, extra_samples={"a start": 100}),
        with_metrics(right("unknown", 364), train_samples=300),
    ]
    found = {name: line.given for name, line in lines(rows).items()}
    # Three epochs see 300 samples, so 100 are a pass.
    mine = found["mine"]
    assert (mine.teacher_passes, mine.extra_passes, mine.weights) == (1.5, 1.0, True)
    assert str(mine) == (
        "teacher that learns (logits, 1.5 passes); teacher's weights; 2 extra modules; 1 extra pass"
    )
    assert str(found["direct"]) == "nothing"
    assert (found["unknown"].signals, str(found["unknown"])) == (None, "")
    text = to_csv(leaderboard(rows, suite=SUITE))
    told = {one["method"]: one["given"] for one in csv.DictReader(StringIO(text))}
    assert told == {name: str(given) for name, given in found.items()}


def test_parameters_that_only_one_network_has_are_given() -> None:
    sizes = {"direct": 3842, "wider": 5122, "shared": 3818, "unknown": None}
    rows = [with_metrics(right(name, 364), parameter_count=size) for name, size in sizes.items()]
    found = {name: line.given for name, line in lines(rows).items()}
    assert {name: given.more_parameters for name, given in found.items()} == {
        "direct": 0,
        "wider": 1280,
        "shared": -24,
        "unknown": None,
    }
    assert "1,280 more parameters at inference" in str(found["wider"])
    assert "24 fewer parameters at inference" in str(found["shared"])
    assert "parameters" not in str(found["direct"]) + str(found["unknown"])


def test_passes_that_no_row_tells_are_unknown_and_not_zero(cards: dict[str, MethodCard]) -> None:
    cards["mine"] = CARD
    found = lines(runs(364))["mine"].given
    assert found.teacher_passes is None
    assert found.extra_passes is None
    assert str(found) == "teacher (logits)"


def test_values_that_are_no_defaults_are_told() -> None:
    tuned = replace(BUDGET, learning_rate=0.9)
    row = with_cell(
        right("logit_kd", 364), recipe=tuned, params={"temperature": 4.0, "weight": 3.0}
    )
    assert lines([row])["logit_kd"].given.values == ("learning rate 0.9", "weight 3.0")
    plain = with_cell(right("logit_kd", 364), params={"temperature": 4.0, "weight": 1.0})
    assert lines([plain])["logit_kd"].given.values == ()


def test_a_start_from_the_teachers_weights_is_given() -> None:
    row = with_cell(right("direct", 364), params={"start_from": "teacher"})
    (found,) = lines([row]).values()
    assert str(found.given) == "teacher's weights"


def test_unlabelled_text_is_given_and_told_where_there_is_some() -> None:
    text = UnlabelledText(datasets=("sst5", "mr"), file="more.txt", sha256="0" * 64)
    rows = [right("direct", 360), with_cell(right("mine", 364), unlabelled=text)]
    board = leaderboard(rows, suite=SUITE, teachers=[teacher()])
    [setting] = board.settings  # one table, and one baseline
    told = {one.method: str(one.given) for one in setting.lines}
    [mine] = (one for one in setting.lines if one.method == "mine")
    assert mine.gain is not None
    assert mine.gain.difference.value == pytest.approx(4 / 400)
    assert "unlabelled text (sst5, mr, more.txt)" in told["mine"]
    assert "text" not in told["direct"]
    given = {
        one["method"]: one["given"].get("unlabelled")
        for setting in json.loads(to_json(board, command=""))["settings"]
        for one in setting["lines"]
    }
    assert given == {"direct": None, "mine": "sst5, mr, more.txt"}


def test_costs_are_over_the_baselines() -> None:
    rows = [right("direct", 360, spikes=5), right("mine", 364, spikes=10), right("blind", 1)]
    rows[1] = with_metrics(rows[1], train_seconds=5.0)
    found = lines(rows)
    # By 10 * 4.6 + 3.6 * spikes: 82 over 64; five seconds over two.
    assert found["mine"].energy_cost == pytest.approx(82 / 64, rel=1e-12)
    assert found["mine"].cost == 2.5
    assert found["blind"].energy_cost is None
    assert found["direct"].energy_cost == 1


def test_another_baseline_is_that_of_every_track() -> None:
    rows = [*runs(360, 361, method="direct"), *runs(370, 372, method="qcfs")]
    found = lines(rows, baseline="qcfs")
    assert found["qcfs"].gain is None
    gain = found["direct"].gain
    assert gain is not None
    assert gain.difference.value == pytest.approx(-10.5 / 400)
    assert {line.baseline for line in found.values()} == {"qcfs"}
    # Not the conversions' own, either.
    gain = lines(rows, baseline="direct")["qcfs"].gain
    assert gain is not None
    assert gain.difference.value == pytest.approx(10.5 / 400)
    with pytest.raises(
        SpecError, match="no line with a number is of 'logit_kd'; there are: direct"
    ):
        lines(rows, baseline="logit_kd")


@pytest.mark.parametrize(
    ("group", "titles"),
    [
        (None, ["T = 2, alpha", "T = 2, beta", "T = 4, alpha", "T = 4, beta"]),
        ("backend", ["alpha", "beta"]),
        ("model", ["tiny"]),
        ("track", ["scratch", "conversion"]),
    ],
)
def test_tables_may_be_of_simulators_students_or_tracks(group: Any, titles: list[str]) -> None:
    rows = [
        right(method, count, backend=backend, timesteps=steps)
        for method, count in (("direct", 360), ("qcfs", 350))
        for backend, worse in (("alpha", 0), ("beta", 3))
        for steps in (2, 4)
        for count in [count - worse]
    ]
    text = render(leaderboard(rows, suite=SUITE), command="x", group=group)
    first = text.partition("### At a glance")[2].partition("### Accuracy % after")[0]
    assert [line[4:] for line in first.splitlines() if line.startswith("### ")] == titles
    assert first.count("| direct |") == 1 + 4  # at a glance, and every line once
    tables = first.partition("### ")[2]
    assert ("| T | simulator |" in tables) == (group is not None)


def threaded(correct: tuple[int, ...], threads: int | None, **changes: Any) -> list[Row]:
    rows = runs(*correct)
    return [with_provenance(row, threads=threads, **changes) for row in rows]


HERE, AGAIN = (360, 364, 368, 372, 376, 380), (362, 362, 370, 370, 378, 378)


def share(again: list[Row], here: list[Row] | None = None) -> Any:
    rows = threaded(HERE, 1) if here is None else here
    return leaderboard(rows, suite=SUITE, again=again).settings[0].rounding


def test_cells_with_other_threads_tell_what_rounding_explains() -> None:
    found = share([*threaded(HERE, 1), *threaded(AGAIN, 2)])
    # Means 361 363 369 371 377 379 about 370: squares 81 49 1 1 49 81, between 2 * 262 / 5;
    # differences of 2, so 2 within. F = 52.4, share 2 / 53.4.
    assert found.value == pytest.approx(2 / 53.4, rel=1e-9)
    assert (found.runs, found.provisional) == (6, False)
    board = leaderboard(threaded(HERE, 1), suite=SUITE, again=threaded(AGAIN, 2))
    assert "- Rounding alone explains 4 % of the variance over seeds (" in render(
        board, command="x"
    )
    whole = json.loads(to_json(board, command="x"))
    assert whole["settings"][0]["rounding_share"]["runs"] == 6


@pytest.mark.parametrize(
    "again",
    [
        threaded(AGAIN, 1),
        threaded(AGAIN, None),
        threaded(AGAIN, 2, train_fp="other code"),
        threaded(AGAIN, 2, versions={"torch": "2.14.0"}),
        threaded(AGAIN, 2, processor={"processor": "another CPU"}),
        threaded(AGAIN[:5], 2),
    ],
    ids=["as many", "unknown", "other code", "other torch", "other CPU", "five"],
)
def test_what_differs_in_more_than_threads_is_no_draw_of_rounding(again: list[Row]) -> None:
    assert share(again) is None
    assert "Rounding alone" not in render(
        leaderboard(threaded(HERE, 1), suite=SUITE, again=again), command="x"
    )


def test_simulators_that_share_seeds_count_once() -> None:
    def both(correct: tuple[int, ...], threads: int) -> list[Row]:
        return [
            with_provenance(right("mine", count, seed=seed, backend=backend), threads=threads)
            for seed, count in enumerate(correct)
            for backend in ("alpha", "beta")
        ]

    assert share(both(AGAIN, 2), both(HERE, 1)).runs == 6


def trade() -> Leaderboard:
    rows = [
        right("cheap", 300, spikes=2),
        right("middle", 350, spikes=4),
        right("worse", 340, spikes=4),
        right("dear", 349, spikes=8),
        right("twin", 350, spikes=4),
        right("equal", 350, spikes=5),
        right("best", 390, spikes=9),
        right("blind", 399),
        wrong("broken", "oom", "too large"),
    ]
    return leaderboard(rows, suite=SUITE, teachers=[teacher()])


def test_the_front_is_marked_and_the_unknown_is_last_and_no_zero() -> None:
    board = trade()
    points = pareto.pareto(board, "energy")
    assert [(one.line.method, one.on_front) for one in points] == [
        ("cheap", True),
        ("middle", True),
        ("twin", True),
        ("worse", False),
        ("equal", False),
        ("dear", False),
        ("best", True),
        ("blind", False),
    ]
    text = pareto.to_markdown(board, points, "energy")
    assert "| * | cheap | scratch | tiny | default | 2 | alpha | 75" in text
    assert "| 53.2 pJ |" in text  # 10 * 4.6 + 3.6 * 2
    assert text.splitlines()[-1].startswith("|  | blind |")
    assert "| — |" in text.splitlines()[-1]
    assert pareto.to_plain(points[-1])["cost"] is None


def test_controls_and_networks_without_steps_stand_beside_a_front() -> None:
    rows = [
        right("direct", 300, spikes=4),
        right("label_smoothing", 320, spikes=2),
        right("ttfs", 350, spikes=3),
    ]
    board = leaderboard(rows, suite=SUITE)
    for cost, stars in (
        ("energy", ["ttfs"]),
        ("operations", ["ttfs"]),
        ("timesteps", ["direct"]),
    ):
        points = pareto.pareto(board, cost)  # type: ignore[arg-type]  # literals, in a loop
        assert [one.line.method for one in points if one.on_front] == stars
    text = pareto.to_markdown(board, points, "energy")
    assert "label_smoothing | control |" in text
    told = pareto.explanation(points, "energy")
    assert told.startswith("Energy is an estimate by `horowitz_45nm_fp32:cached`")
    assert "host" in pareto.explanation(points, "latency")


def test_a_front_is_of_one_budget_and_authors_constants_stand_beside_it() -> None:
    rows = [
        right("cheap", 300, spikes=2),
        right("tuned", 350, spikes=4),
        right("theirs", 390, spikes=3),
        with_cell(right("longer", 399, spikes=1), recipe_name="longer"),
        right("slow", 395, spikes=9, timesteps=4),
    ]
    suite = replace(SUITE, recipes={"default": BUDGET, "longer": replace(BUDGET, epochs=30)})
    board = leaderboard(rows, suite=suite, authors={rows[2].cell_id})

    def stars(**asked: Any) -> dict[str, bool]:
        points = pareto.pareto(pareto.narrowed(board, **asked), "energy")
        return {one.line.method: one.on_front for one in points}

    assert stars() == {"cheap": True, "tuned": True, "theirs (authors')": False, "slow": True}
    assert stars(timesteps=[4]) == {"slow": True}
    assert stars(recipe="longer") == {"longer": True}
    with pytest.raises(SpecError, match="budget 'long'; there are: default, longer"):
        pareto.narrowed(board, recipe="long")
    with pytest.raises(SpecError, match="such a T; there are: 2, 4"):
        pareto.narrowed(board, timesteps=[8])


@pytest.mark.parametrize(
    ("cost", "of_cheap"), [("operations", 18.0), ("latency", 1.5), ("timesteps", 2.0)]
)
def test_accuracy_is_set_against_each_cost(cost: pareto.Cost, of_cheap: float) -> None:
    costs = {one.line.method: one.cost for one in pareto.pareto(trade(), cost)}
    assert costs["cheap"] == of_cheap


def test_another_energy_model_and_one_that_is_not() -> None:
    board = trade()
    found = pareto.pareto(board, "energy", model="horowitz_45nm_int8:cached")
    assert found[0].cost != pareto.pareto(board, "energy")[0].cost
    with pytest.raises(
        UnknownPluginError, match=r"'devices:lohi_davies_2018'; did you mean .*loihi"
    ):
        pareto.pareto(board, "energy", model="devices:lohi_davies_2018")
    with pytest.raises(SpecError, match=r"loihi_davies_2018 has no price for mac in first \(as "):
        pareto.pareto(board, "energy", model="devices:loihi_davies_2018")
    with pytest.raises(SpecError, match="no line has an energy by yan_2024:compute: none has c"):
        pareto.pareto(leaderboard(runs(364), suite=SUITE), "energy", model="yan_2024:compute")


def test_the_figure_is_written_and_says_where_there_is_nothing(tmp_path: Path) -> None:
    write_figure(trade(), "energy", tmp_path / "a.svg", kind="svg")
    assert "energy estimate a sample" in (tmp_path / "a.svg").read_text("utf-8")
    with pytest.raises(SpecError, match="no row has what accuracy against energy estimate"):
        write_figure(leaderboard(runs(364), suite=SUITE), "energy", tmp_path / "b.svg", kind="svg")


def told(*words: str) -> list[dict[str, Any]]:
    """Return what a verb tells machines of the published rows."""
    ended = CliRunner().invoke(boards_app, [*words, "--json", "--out", "nowhere"])
    assert ended.exit_code == 0, ended.output
    return [json.loads(line) for line in ended.stdout.splitlines()]


def test_the_verbs_read_what_is_published() -> None:
    found = told("claims", "cifar10_speedrun")
    ran = [one for one in found if one["ours"]]
    assert {one["claim"]["dataset"] for one in ran} == {"cifar10"}
    # 300 steps are nobody's budget.
    assert {one["verdict"] for one in ran} == {"not comparable"}
    points = told("pareto", "cifar10_speedrun", "--cost", "operations")
    front = [one for one in points if one["on_front"]]
    assert [one["score"] for one in front] == sorted(one["score"] for one in front)
    assert len(front) < len(points)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["pareto", "digits", "--figure", "x.gif"], "must end in .svg, .png or .pdf, got 'x.gif'"),
        (["claims", "--margin", "0"], "--margin must be positive, got 0.0"),
        (["claims", "digit"], "did you mean digits"),
    ],
)
def test_a_mistake_is_told_before_anything_is_read(words: list[str], why: str) -> None:
    ended = CliRunner().invoke(boards_app, words)
    assert isinstance(ended.exception, HarnessError)
    assert why in str(ended.exception)


def test_a_file_that_cannot_be_read_claims_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def card_of(method: str) -> MethodCard:
        if method == "torn_file":
            raise SpecError("torn_file.py line 1: SyntaxError: invalid syntax")
        return claiming()

    monkeypatch.setattr(discovery, "names", lambda _: ("torn_file", "whole_file"))
    monkeypatch.setattr(discovery, "method_card", card_of)
    assert [one.method for one in hold([], methods=["torn_file", "whole_file"])] == ["whole_file"]
