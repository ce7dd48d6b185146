"""Benchmarks are found as asv finds them, say what is good, and compare what is equal."""

import inspect
import json
import os
import pkgutil
import shutil
import statistics
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import typer
from torch.profiler import ProfilerActivity, profile

import benchmarks
from benchmarks import _gate_work, _timing, gpu, peers, perf_gate, table
from benchmarks.gpu import Part
from harness.cli import app
from suites.models._resnet import ResNet
from tests.projects import ROOT

NAMES = [module.name for module in pkgutil.iter_modules(benchmarks.__path__)]

# asv imports the package by a finder of its own, from a temporary folder, in an environment
# in which only the project is installed.
AS_ASV = """
import importlib, importlib.machinery, sys

class OnlyBenchmarks:
    def find_spec(self, name, path=None, target=None):
        if name == "benchmarks":
            return importlib.machinery.PathFinder.find_spec(name, [sys.argv[1]], target)

sys.meta_path.insert(0, OnlyBenchmarks())
for name in sys.argv[2:]:
    importlib.import_module(f"benchmarks.{name}")
from benchmarks._processes import answer_of
print(answer_of("benchmarks._timing") == "")
"""

BARE = """
import importlib.util, pkgutil, sys

for name in ("tonic", "expelliarmus", "librosa", "aedat", "nox", "asv"):
    sys.modules[name] = None  # importing it raises
import benchmarks.gpu, benchmarks.peers, benchmarks.perf_gate
from harness import discovery
from harness.cli.simulators import remedy
optional = tuple(f"backends.{name}." for name in discovery.names("backends") if remedy(name))
if not importlib.util.find_spec("jax"):  # the simulators in JAX alone import it
    optional += ("harness.neurons.through_jax",)
for package in ("harness", "backends", "suites"):
    for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
        if not module.name.endswith("__main__") and not module.name.startswith(optional):
            importlib.import_module(module.name)
print(len(sys.modules))
"""


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """Return a folder that holds what an installation of the project holds."""
    folder = tmp_path / "installed"
    folder.mkdir()
    for package in ("harness", "backends", "suites"):
        (folder / package).symlink_to(ROOT / package)
    return folder


def _python(code: str, *arguments: str, path: Path, cwd: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(path)}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.check_output(command, cwd=cwd, env=environment, text=True)


def test_every_benchmark_is_found_without_the_root_on_the_path_and_so_are_its_children(
    installed: Path, tmp_path: Path
) -> None:
    assert "peers" in NAMES
    said = _python(AS_ASV, str(ROOT), *NAMES, path=installed, cwd=tmp_path)
    assert said.strip() == "True"


def test_nothing_imports_at_start_what_a_bare_machine_lacks(tmp_path: Path) -> None:
    assert int(_python(BARE, path=ROOT, cwd=tmp_path)) > len(NAMES)


def _tracked() -> Iterator[tuple[str, Any]]:
    """Yield every tracked number's name and unit."""
    for name in NAMES:
        module: ModuleType = import_module(f"benchmarks.{name}")
        for owner in (module, *(each for _, each in inspect.getmembers(module, inspect.isclass))):
            for attribute, value in vars(owner).items():
                if attribute.startswith("track_") and callable(value):
                    unit = getattr(value, "unit", getattr(owner, "unit", None))
                    yield f"{name}.{attribute}", unit


def test_every_tracked_number_says_which_direction_is_good() -> None:
    tracked = list(_tracked())
    assert len(tracked) > 10
    mute = [name for name, unit in tracked if not str(unit).endswith((_timing.MORE, _timing.LESS))]
    assert mute == []


class Clock:
    """Time that passes only where a test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.order: list[str] = []
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)

    def taking(self, seconds: float, name: str = "") -> Callable[[], None]:
        def work() -> None:
            self.now += seconds
            self.order.append(name)

        return work


def test_contenders_take_turns_and_nobody_is_always_first(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    actions = {"a": clock.taking(0.5, "a"), "b": clock.taking(0.25, "b")}
    taken = _timing.alternating(actions, 3)
    assert taken == {"a": [0.5] * 3, "b": [0.25] * 3}
    assert "".join(clock.order) == "abbaab"


def test_who_takes_a_quarter_of_the_time_is_four_times_as_fast(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock(monkeypatch)
    assert _timing.times_as_fast(clock.taking(1), clock.taking(4)) == 4


def test_an_interval_holds_the_median_and_shrinks_to_it() -> None:
    low, high = _timing.interval([1.0, 1.1, 1.2, 1.3, 9.0])
    assert low <= 1.2 <= high
    assert low < high
    assert _timing.interval([1.25] * 5) == (1.25, 1.25)


# Peers: the same network, so the same gradient.

SMALL = peers.Setting(model="resnet20", timesteps=2, batch=2)


@pytest.fixture(params=["pad", "project"])
def tiny(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> peers.Setting:
    topology = ResNet(blocks=(2, 1), widths=(8, 16), shortcut=request.param)
    monkeypatch.setattr(peers, "topology_of", lambda _: topology)
    return SMALL


@pytest.mark.parametrize(("dtype", "tolerance"), peers.TOLERANCE.items())
@pytest.mark.parametrize("peer", peers.PEERS)
def test_the_native_gradient_is_ours(
    peer: str, tiny: peers.Setting, dtype: torch.dtype, tolerance: float
) -> None:
    assert 0 <= peers.gradients_apart(peer, tiny, dtype=dtype) <= tolerance


def test_of_a_step_convolutions_are_told_apart() -> None:
    weight, image = torch.ones(8, 8, 3, 3, requires_grad=True), torch.ones(8, 8, 16, 16)

    def multiply() -> None:
        for _ in range(20):
            image @ image

    def convolve() -> None:
        torch.nn.functional.conv2d(image, weight).sum().backward()

    def both() -> None:
        multiply()
        convolve()

    assert peers.convolving_ms(multiply) == 0
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        both()
    whole = sum(one.self_cpu_time_total for one in seen.key_averages()) / 1000
    assert 0 < peers.convolving_ms(both) < whole


def test_another_network_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "gradients_apart", lambda *_, compiled: 1e-3 if compiled else 0.0)
    with pytest.raises(ValueError, match=r"spikingjelly and ours, compiled differ by 1\.0e-03"):
        peers.hold_gradients("spikingjelly", SMALL)


@pytest.mark.parametrize("method", ["direct", "logit_kd"])
@pytest.mark.parametrize("peer", peers.PEERS)
def test_a_native_step_does_to_weights_what_ours_does(
    peer: str, method: str, tiny: peers.Setting
) -> None:
    setting = replace(tiny, method=method)
    network = peers.ours(peer, setting)
    theirs = peers.native(peer, setting, network)
    before = next(network.parameters()).detach().clone()
    steps = (
        peers.our_step(network, setting, "float32"),
        peers.native_step(peer, theirs, setting, "float32"),
    )
    for step in steps:
        step()
    ours, native = (next(each.parameters()).detach() - before for each in (network, theirs))
    # As far apart as gradients may be, and weight decay is the same: the first is a convolution.
    assert float((ours - native).norm() / native.norm()) < 1e-4
    assert float(native.norm()) > 0
    steps[1]()  # a state that was kept would lead into a graph that is gone


def test_a_contender_is_measured_against_the_native_step(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    took = {peers.NATIVE: 6.0, peers.PLAIN: 3.0, peers.COMPILED: 2.0}
    steps = {name: clock.taking(seconds) for name, seconds in took.items()}
    monkeypatch.setattr(peers, "steps_of", lambda *_: steps)
    found = list(peers.measure("norse", SMALL, "float32", rounds=3, steps=2, memory=False))
    assert [(one.contender, one.native_times, one.step_ms) for one in found] == [
        (peers.NATIVE, 1.0, 6000.0),
        (peers.PLAIN, 2.0, 3000.0),
        (peers.COMPILED, 3.0, 2000.0),
    ]
    *_, last = peers.table(found)
    assert last == "| norse | ours, compiled | float32 | 2000.0 | 0 | 3.00 |  |"


# The table after a run of asv.

KNOWN = {"a.time_it": {"unit": "seconds"}, "a.track_it": {"unit": f"ratio, {_timing.MORE}"}}
STORED = {
    "result_columns": ["result", "params"],
    "results": {
        "a.time_it": [[0.0125, None, float("nan")], [["1", "2", "3"]]],
        "a.track_it": [[2.5], []],
        "a.renamed_since": [[1.0], []],
    },
}


def test_the_table_shows_values_and_failures_and_leaves_out_what_was_not_asked() -> None:
    assert [line.cells() for line in table.lines(STORED, KNOWN)] == [
        ("a.time_it(1)", "12.5", "ms, less is better"),
        ("a.time_it(2)", "failed", "seconds"),
        ("a.track_it", "2.5", "ratio, more is better"),
    ]


def test_a_benchmark_that_failed_as_a_whole_has_a_line_for_each_choice() -> None:
    stored = STORED | {"results": {"a.time_it": [None, [["1", "2"]]]}}
    assert [line.value for line in table.lines(stored, KNOWN)] == [None, None]


def _stored(folder: Path, value: float | None) -> Path:
    stored = STORED | {"results": {"a.track_it": [[value], []]}}
    (folder / "machine").mkdir()
    (folder / "machine" / "01234567-existing.json").write_text(json.dumps(stored))
    (folder / "benchmarks.json").write_text(json.dumps(KNOWN))
    return folder


@pytest.mark.parametrize(("value", "code"), [(2.5, table.DONE), (None, table.SOME_FAILED)])
def test_the_table_ends_with_what_became_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], value: float | None, code: int
) -> None:
    folder = _stored(tmp_path, value)
    assert table.main(["0123456789abcdef", f"--results={folder}"]) == code
    assert "which direction is good" in capsys.readouterr().out
    assert table.main(["fedcba98", f"--results={folder}"]) == table.NOTHING


GIT = shutil.which("git") or "git"

# The gate, over two commits of a project of one function.

WORK = """
import os, sys
from benchmarks._gate_work import serve

def toy():
    import toy
    return toy.run

WORK = {"toy": toy}
if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    serve(WORK, sys.stdin, answers)
"""
SLOW, FAST = "import time\ndef run(): time.sleep(0.03)", "import time\ndef run(): time.sleep(0.003)"


class Toy:
    """A repository whose last commit is another version of ``toy.py`` than the working tree."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "toy"
        self.folder.mkdir()
        self.work = folder / "work.py"
        self.work.write_text(WORK)
        self._git("init", "--quiet")

    def _git(self, *words: str) -> None:
        as_whom = ("-c", "user.name=n", "-c", "user.email=e@e")
        subprocess.run([GIT, "-C", str(self.folder), *as_whom, *words], check=True)

    def gate(self, then: str, now: str, *options: str) -> int:
        (self.folder / "toy.py").write_text(then)
        self._git("add", "-A")
        self._git("commit", "--quiet", "-m", "then")
        (self.folder / "toy.py").write_text(now)
        where = [f"--repository={self.folder}", f"--work={self.work}", "--rounds=6"]
        return perf_gate.main(["HEAD", *where, *options])

    def worktrees(self) -> int:
        command = [GIT, "-C", str(self.folder), "worktree", "list"]
        return len(subprocess.check_output(command, text=True).splitlines())


@pytest.fixture
def toy(tmp_path: Path) -> Toy:
    return Toy(tmp_path)


RAISES = "def run(): raise ValueError('no')"


@pytest.mark.parametrize(
    ("then", "now", "options", "code"),
    [
        (FAST, SLOW, (), perf_gate.Exit.SLOWER),
        (SLOW, FAST, (), perf_gate.Exit.OK),
        (FAST, SLOW, ("--tolerance=100",), perf_gate.Exit.OK),
        (FAST, RAISES, (), perf_gate.Exit.CRASHED),
        (RAISES, FAST, (), perf_gate.Exit.CRASHED),
        (FAST, "import os\ndef run(): os._exit(3)", (), perf_gate.Exit.CRASHED),
        (FAST, "import time\ndef run(): time.sleep(99)", ("--limit=1",), perf_gate.Exit.CRASHED),
        (FAST, FAST, ("--only", "another"), perf_gate.Exit.NOTHING),
        (FAST, FAST, ("--minutes=0",), perf_gate.Exit.NOTHING),
    ],
)
def test_the_gate_ends_with_what_it_found(
    toy: Toy,
    monkeypatch: pytest.MonkeyPatch,
    then: str,
    now: str,
    options: tuple[str, ...],
    code: int,
) -> None:
    monkeypatch.setattr(perf_gate, "PATIENCE_S", 0.3)
    assert toy.gate(then, now, *options) == code
    assert toy.worktrees() == 1  # the temporary one is gone


def test_the_gate_asks_for_a_commit(toy: Toy, capsys: pytest.CaptureFixture[str]) -> None:
    assert perf_gate.main(["no-such", f"--repository={toy.folder}"]) == perf_gate.Exit.BAD_INPUT
    assert "'no-such' is no commit" in capsys.readouterr().err


def test_a_crash_is_worse_than_a_regression_and_a_regression_than_nothing() -> None:
    slower = perf_gate.Compared(name="a", then=[1.0] * 5, now=[2.0] * 5)
    crashed = perf_gate.Compared(name="b", crash="here: no")
    short = perf_gate.Compared(name="c", then=[1.0], now=[9.0])
    assert perf_gate.verdict([slower, crashed, short], 0.05) == perf_gate.Exit.CRASHED
    assert perf_gate.verdict([slower, short], 0.05) == perf_gate.Exit.SLOWER
    equal = perf_gate.Compared(name="d", then=[1.0] * 5, now=[1.0] * 5)
    assert perf_gate.verdict([equal, short], 0.05) == perf_gate.Exit.NOTHING
    assert perf_gate.verdict([equal], 0.05) == perf_gate.Exit.OK
    assert perf_gate.verdict([], 0.05) == perf_gate.Exit.NOTHING


def test_a_slow_round_among_many_is_no_regression() -> None:
    noisy = perf_gate.Compared(name="a", then=[1.0] * 9, now=[1.0] * 8 + [50.0])
    assert perf_gate.verdict([noisy], 0.05) == perf_gate.Exit.OK


def test_a_rise_that_noise_may_have_made_is_no_regression() -> None:
    doubtful = perf_gate.Compared(name="a", then=[1.0] * 9, now=[1.0] * 4 + [1.5] * 5)
    assert statistics.median(doubtful.ratios) == 1.5
    assert perf_gate.verdict([doubtful], 0.05) == perf_gate.Exit.OK


@pytest.mark.parametrize("name", ["step", "neurons", "meter"])
def test_what_the_gate_times_runs_at_this_commit(name: str) -> None:
    action = _gate_work.WORK[name]()
    action()
    action()


@pytest.mark.parametrize("name", ["plan", "cell"])
def test_what_the_gate_asks_of_the_command_line_is_understood(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, ...]] = []
    monkeypatch.setattr(_gate_work, "command", lambda *words: asked.append(words))
    action = _gate_work.WORK[name]()
    action()
    action()
    for words in asked:
        understood(words)
    # A cell that is there already would be no work.
    assert (asked[0] != asked[1]) == (name == "cell")


def test_the_gate_does_not_time_the_same_code_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RuntimeError, match="harness comes from"):
        _gate_work.insist_on_this_commit()


def understood(words: tuple[str, ...]) -> None:
    """Parse a command line of the harness and run nothing; raise if it has no such option."""
    verb, *options = words
    group: Any = typer.main.get_command(app)
    group.commands[verb].make_context(verb, list(options))


# The session on a GPU, without one.


def fake(name: str, code: str, *, limit_s: float = 20.0) -> Part:
    return Part(name=name, command=(sys.executable, "-c", code), limit_s=limit_s)


# A process that hangs in a child of its own, whose number it writes down.
HANGS = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(99)"])
print(child.pid, flush=True)
child.wait()
"""


def test_parts_that_fail_or_hang_harm_no_other(tmp_path: Path) -> None:
    asked = [
        fake("fails", "print('why'); raise SystemExit(7)"),
        fake("hangs", HANGS, limit_s=2.0),
        fake("works", "print('a'); print('last')"),
    ]
    found = gpu.conduct(asked, tmp_path, seconds=60)
    assert [(one.status, one.code, one.words) for one in found] == [
        ("failed", 7, "why"),
        ("cut off", None, found[1].words),
        ("ok", 0, "last"),
    ]
    assert 2 <= found[1].seconds < 10
    assert not _alive(int(found[1].words))
    written = json.loads((tmp_path / "session.json").read_text())["outcomes"]
    assert [one["status"] for one in written] == ["failed", "cut off", "ok"]
    assert "| works | ok |" in (tmp_path / "session.md").read_text()


def _alive(process: int) -> bool:
    """Return whether it still runs; one that nobody has waited for does not."""
    status = Path(f"/proc/{process}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


def test_no_part_goes_beyond_the_whole_and_none_is_begun_in_vain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "LEAST_S", 1.0)
    asked = [fake("hangs", "import time; time.sleep(99)"), fake("late", "print('never')")]
    found = gpu.conduct(asked, tmp_path, seconds=1.5)
    assert [one.status for one in found] == ["cut off", "no time"]
    assert sum(one.seconds for one in found) < 4
    assert not (tmp_path / "late.log").exists()


def test_a_part_knows_how_long_it_has(tmp_path: Path) -> None:
    code = "import sys; print(sys.argv[1])"
    part = Part(name="a", command=(sys.executable, "-c", code, "--t={limit}"), limit_s=10)
    (found,) = gpu.conduct([part], tmp_path, seconds=60)
    assert found.words == "--t=9"


def test_what_was_timed_is_in_the_tables_and_in_the_bundle(tmp_path: Path) -> None:
    (tmp_path / "steps-tiny.json").write_text(json.dumps({"batch": 128, "ms": {"harness": 4.0}}))
    (tmp_path / "weights.safetensors").write_bytes(b"heavy")
    gpu.conduct([fake("works", "print('yes')")], tmp_path, seconds=60)
    assert "| steps-tiny | harness | 4.00 | 32000 |" in (tmp_path / "session.md").read_text()
    with tarfile.open(gpu.bundle(tmp_path)) as packed:
        listed = packed.getnames()
    assert sorted(listed) == ["session.json", "session.md", "steps-tiny.json", "works.log"]


def test_without_a_device_the_session_says_so_in_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(gpu, "has_cuda", lambda: False)
    monkeypatch.setattr(gpu, "parts", lambda *_: [fake("a", "print('begun')")])
    assert gpu.main(["--out", str(tmp_path / "none")]) == gpu.NO_DEVICE
    assert len(capsys.readouterr().out.splitlines()) == 1
    assert not (tmp_path / "none").exists()


STOPPED = """
import os, signal, sys, threading, time
from pathlib import Path
from benchmarks import gpu

def stop():
    log = out / "a.log"
    while not log.exists() or not log.read_text():  # until its part has begun
        time.sleep(0.02)
    os.kill(os.getpid(), signal.SIGTERM)

out = Path(sys.argv[1])
gpu.has_cuda = lambda: True
gpu.parts = lambda *_: [gpu.Part(name="a", command=(sys.executable, "-c", sys.argv[2]), limit_s=60)]
threading.Thread(target=stop, daemon=True).start()
gpu.main(["--out", str(out)])
"""


def test_a_session_that_is_stopped_ends_its_part_and_packs_what_it_has(tmp_path: Path) -> None:
    command = [sys.executable, "-c", STOPPED, str(tmp_path), HANGS]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, env=environment, check=False, timeout=30)
    assert ended.returncode == 143
    assert not _alive(int((tmp_path / "a.log").read_text()))
    with tarfile.open(tmp_path / "session.tar.gz") as packed:
        assert packed.getnames() == ["a.log"]


@pytest.mark.parametrize(("code", "expected"), [(0, gpu.DONE), (1, gpu.SOME_FAILED)])
def test_the_session_ends_with_whether_all_went_well(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: int, expected: int
) -> None:
    monkeypatch.setattr(gpu, "has_cuda", lambda: True)
    monkeypatch.setattr(gpu, "parts", lambda *_: [fake("a", f"raise SystemExit({code})")])
    assert gpu.main(["--out", str(tmp_path)]) == expected


def test_everything_that_the_session_asks_of_the_harness_is_understood(tmp_path: Path) -> None:
    asked = {part.name: part for part in gpu.parts(tmp_path, tmp_path / "resnet20.th")}
    assert next(iter(asked)) == "environment"
    last = ["teacher", "run", "bundle"]  # which none may begin without
    assert list(asked)[-3:] == last
    assert asked.keys() - {part.name for part in gpu.parts(tmp_path)} == {*last}
    ours = [part.command for part in asked.values() if part.command[2] == "harness"]
    assert len(ours) == 7
    for command in ours:
        understood(tuple(word.replace("{limit}", "9") for word in command[3:]))


def test_a_gpu_is_shown_the_tests_that_ask_for_one() -> None:
    files = gpu.tests_for_cuda()
    assert "tests/test_augment.py" in files  # is skipped elsewhere
    assert all((ROOT / file).is_file() for file in files)
    assert "tests/test_benchmarks.py" not in files
