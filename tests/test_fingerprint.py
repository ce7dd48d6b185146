"""A comment leaves a fingerprint as it is; a change in any helper moves it, by name."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from harness import discovery, fingerprint
from harness.contracts.cell import Cell
from harness.contracts.row import Row
from harness.engine import freshness
from harness.engine.teachers import cell_of
from tests.projects import copied

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a first-party package ``mine`` whose ``entry`` imports ``helper``."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "entry.py").write_text(
        "def run():\n    from mine import helper\n    return helper.x\n"
    )
    (folder / "helper.py").write_text("x = 1\n")
    (folder / "stranger.py").write_text("y = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return folder


def _closure(*roots: str, stops: tuple[str, ...] = ()) -> Mapping[str, str]:
    """Return a closure as a process that has read nothing yet would see it."""
    for cached in (fingerprint._closure, fingerprint._read, discovery.file_of):
        cached.cache_clear()
    return fingerprint.closure(roots or ["mine.entry"], stops=stops)


def test_a_closure_is_the_roots_what_they_import_and_the_packages_around(package: Path) -> None:
    assert package.exists()
    assert list(_closure()) == ["mine", "mine.entry", "mine.helper"]


def test_comments_docstrings_and_blank_lines_do_not_count(package: Path) -> None:
    before = _closure()
    (package / "helper.py").write_text('"""Now with words."""\n\n\nx = 1  # one\n')
    assert _closure() == before


def test_a_change_in_a_helper_is_named_even_if_it_is_imported_late(package: Path) -> None:
    before = _closure()
    (package / "helper.py").write_text("x = 2\n")
    assert fingerprint.moved(before, _closure()) == ("mine.helper",)


def test_what_a_helper_comes_to_import_is_named_as_new_and_then_as_gone(package: Path) -> None:
    before = _closure()
    (package / "helper.py").write_text("from mine.stranger import y as x\n")
    after = _closure()
    assert fingerprint.moved(before, after) == ("mine.helper", "mine.stranger (new)")
    assert fingerprint.moved(after, before) == ("mine.helper", "mine.stranger (gone)")
    assert fingerprint.moved(after, after) == ()


def test_a_module_that_nobody_imports_does_not_count(package: Path) -> None:
    before = _closure()
    (package / "stranger.py").write_text("y = 2\n")
    assert _closure() == before


@pytest.mark.parametrize(
    "line",
    [
        "import os, mine.stranger",
        "import mine.stranger as a, os",
        "from mine import (\n    helper,\n    stranger as other,\n)",
        "from mine.stranger import *",
        "from . import stranger",
        "from .stranger import y",
        "try: from mine import stranger\nexcept ImportError: pass",
    ],
)
def test_every_way_to_import_is_followed(package: Path, line: str) -> None:
    (package / "helper.py").write_text(f"{line}\n")
    assert "mine.stranger" in _closure()


def test_a_package_imports_relative_to_itself_and_a_module_to_its_package(package: Path) -> None:
    (package / "__init__.py").write_text("from . import stranger\n")
    assert list(_closure("mine")) == ["mine", "mine.stranger"]


@pytest.mark.parametrize(
    "line",
    [
        "words = 'import mine.stranger'",
        "words = '''\nfrom mine import stranger\n'''",
    ],
)
def test_words_that_look_like_an_import_are_not_followed(package: Path, line: str) -> None:
    (package / "helper.py").write_text(f"{line}\n")
    assert "mine.stranger" not in _closure()


def test_a_stop_leaves_out_a_module_or_a_package_and_what_only_it_imports(package: Path) -> None:
    (package / "helper.py").write_text("import mine.stranger\nimport mine.part.inner\n")
    (package / "part").mkdir()
    (package / "part" / "__init__.py").write_text("")
    (package / "part" / "inner.py").write_text("import mine.party\n")
    (package / "party.py").write_text("")
    everything = {*_closure()}
    inner = {"mine.part", "mine.part.inner"}
    assert inner < everything
    assert {*_closure(stops=("mine.part",))} == everything - inner - {"mine.party"}
    assert {*_closure(stops=("mine.stranger",))} == everything - {"mine.stranger"}
    assert {*_closure(stops=("mine.par",))} == everything
    assert "mine.stranger" not in _closure(stops=("mine.helper",))
    assert "mine.stranger" in _closure("mine.helper", stops=("mine.helper",))


def test_one_hash_stands_for_a_whole_closure(package: Path) -> None:
    assert package.exists()
    modules = _closure()
    whole = fingerprint.of_closure(modules)
    assert re.fullmatch("[0-9a-f]{16}", whole)
    assert all(re.fullmatch("[0-9a-f]{8}", one) for one in modules.values())
    assert fingerprint.of_closure(dict(reversed(modules.items()))) == whole
    assert fingerprint.of_closure({**modules, "mine.entry": "00000000"}) != whole
    assert fingerprint.of_closure({f"a{name}": one for name, one in modules.items()}) != whole


LAYOUTS = [
    ("x = 1", "\n\n# one\nx = 1  # two\n\n"),
    ("x = 1", '# one\n"""Words.\n\n"More."\n"""  # two\n\nx = 1 \n'),
    ("def f():\n    return 1", 'def f():  # one\n    # two\n    """Words."""\n\n    return 1'),
    ("class A:\n    x = 1", 'class A:\n    r"""Words: \\"""."""\n\n    x = 1'),
    (
        "def f(\n    a,\n) -> b:\n    c",
        'def f(\n    # one\n    a,\n) -> b:\n    """"Two"."""\n    c',
    ),
    (
        "if a:\n    b\n    if c:\n        d\ne",
        "if a:\n    b\n  # c\n    if c:\n\n        d\n# d\ne",
    ),
]
MEANINGS = [
    ("x = 1", "x = 2"),
    ("x = '# a'", "x = '# b'"),
    ('x = """\n# a"""', 'x = """\n# b"""'),
    ('x = """\n\n"""', 'x = """\n"""'),
    ('f(\n    """a"""\n)', 'f(\n    """b"""\n)'),
    ('def f():\n    """a""".b()', 'def f():\n    """b""".b()'),
    ('def f():\n    """a""".b()\n    x = """c"""', 'def f():\n    """a""".b()\n    y = """c"""'),
    ('x = a["b":] + """c"""', 'x = a["b":] + """d"""'),
    ("x = a \\\n\n(b)", "x = a \\\n(b)"),
    ("x = 'a  b'", "x = 'a b'"),
    ("x = '''a\n  b'''", "x = '''a\n b'''"),
    ("x = '\\'' # '", "x = '\\'#' # '"),
    ("x = 'a', 'b'", "x = 'a' 'b'"),
    ("x = '\\1' '2'", "x = '\\12'"),
    ("x = '{a}' f'{b}'", "x = f'{a}{b}'"),
    ("x = b'a'", "x = 'a'"),
    ("x = r'\\n'", "x = '\\n'"),
    ("if a:\n    b\nc", "if a:\n    b\n    c"),
    ("if a:\n    if b:\n        c\n    d", "if a:\n    if b:\n        c\n        d"),
    ("f(a)\n(b)", "f(a)(b)"),
    ("x = (a,)", "x = (a)"),
    ("x = [(a,)]", "x = [(a)]"),
    ("x = (lambda a, b: a,)", "x = (lambda a, b: a)"),
    ("x = ((a, b),)", "x = ((a, b))"),
    ("x = y[a,]", "x = y[a]"),
    ("for a in (b,): pass", "for a in (b): pass"),
    ("match (a,):\n    case b: pass", "match (a):\n    case b: pass"),
    ("x = match[a,]", "x = match[a]"),
    ("x = 1.e5", "x = 1 .e5"),
    ("x = y == (a, b)", "x = y == a, b"),
    ("x = y in (a, b)", "x = y in a, b"),
    ("assert (a, b)", "assert a, b"),
    ("def f(): return ()", "def f(): return"),
    ("x = (a + b) * (c)", "x = a + b * (c)"),
    ("x = -(a + b)", "x = -a + b"),
    ("x = not a", "x = nota"),
    ("f'{a()}'", "f'{b()}'"),
]


@pytest.mark.parametrize(("one", "other"), LAYOUTS)
def test_comments_docstrings_and_blank_lines_leave_the_normal_form(one: str, other: str) -> None:
    assert _tree(one) == _tree(other)  # the premise
    assert fingerprint._normalised(one) == fingerprint._normalised(other)


@pytest.mark.parametrize(("one", "other"), MEANINGS)
def test_whatever_another_tree_comes_of_counts(one: str, other: str) -> None:
    assert _tree(one) != _tree(other)  # the premise
    assert fingerprint._normalised(one) != fingerprint._normalised(other)


def _tree(source: str) -> str:
    """Return the syntax tree without statements that are plain strings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(body := getattr(node, "body", None), list):
            body[:] = [each for each in body if not _is_string(each)]
    return ast.dump(tree)


def _is_string(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _statements(file: Path) -> list[str]:
    text = file.read_text(encoding="utf-8")
    found = (ast.get_source_segment(text, node) or "" for node in ast.parse(text).body)
    return [statement for statement in found if len(statement) < 400]


STATEMENTS = [
    each for file in sorted((ROOT / "harness").rglob("*.py")) for each in _statements(file)
]
PIECES = [*"()[]{},.:=*'\"\n#\\ -", "\n    ", "lambda ", "not ", "return ", "in ", "''", ",)", "=="]


@given(st.sampled_from(STATEMENTS), st.data())
def test_no_change_that_gives_another_tree_goes_unseen(source: str, data: st.DataObject) -> None:
    changed = source
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(changed)))
        end = start + data.draw(st.integers(0, 2))
        changed = changed[:start] + data.draw(st.sampled_from(["", *PIECES])) + changed[end:]
    try:
        same = _tree(changed) == _tree(source)
    except (SyntaxError, ValueError):
        reject()
    assert same or fingerprint._normalised(changed) != fingerprint._normalised(source)


def test_the_normal_form_is_written_out_once() -> None:
    source = '# one\ndef f(a):\n  """Words."""\n\n  return (a, \'b\')  # two\n'
    assert fingerprint._normalised(source) == ":\ndef f(a):\n  return (a, 'b')\n"


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_every_python_gives_the_same_hashes(python: str) -> None:
    script = (
        "import json, sys; from harness import fingerprint; "
        "print(json.dumps(dict(fingerprint.closure(sys.argv[1:]))))"
    )
    words = (_interpreter(python), "-c", script, *EVERYTHING)
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == fingerprint.closure(EVERYTHING)


EVERYTHING = (
    "harness.cli",
    "harness.engine.cell",
    *(
        discovery.module_of(kind, name)
        for kind in discovery.KINDS
        for name in discovery.names(kind)
    ),
)


def _interpreter(python: str) -> str:
    """Return an interpreter of this version, which needs none of our packages."""
    ours = sorted((Path.home() / ".pyenv/versions").glob(f"{python}.*/bin/python"))
    found = [*map(str, ours), *filter(None, [shutil.which(f"python{python}")])]
    if not found:
        pytest.skip(f"no Python {python} is here")
    return found[0]


def test_versions_name_python_what_is_asked_for_and_only_what_is_installed() -> None:
    found = fingerprint.versions(["pytest", "no-such-distribution"])
    assert found["pytest"] == pytest.__version__
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert "torch" in found
    assert "no-such-distribution" not in found


def test_differences_are_told_in_words() -> None:
    then = {"python": "3.11.7", "torch": "2.11.0", "norse": "1.1.0"}
    now = {"python": "3.11.7", "torch": "2.13.0", "tonic": "1.6.0"}
    assert fingerprint.differences(then, now) == (
        "made with norse 1.1.0, here without; made without tonic, here 1.6.0; "
        "made with torch 2.11.0, here 2.13.0"
    )
    assert fingerprint.differences(now, now) == ""


INFO = """processor\t: 0
model name\t: Some Processor @ 2.50GHz
flags\t\t: fpu sse4_1 avx2 avx512f avx512_bf16_not_quite

processor\t: 1
model name\t: Some Processor @ 2.50GHz
flags\t\t: fpu sse4_1 avx2 avx512f avx512_bf16_not_quite
"""


@pytest.fixture
def cpuinfo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file that stands for ``/proc/cpuinfo``; no limit is in force."""
    monkeypatch.setattr(fingerprint, "CPUINFO", tmp_path / "cpuinfo")
    for name in fingerprint._LIMITS:
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "cpuinfo"


def test_the_processor_is_told_with_every_instruction_set_that_matters(cpuinfo: Path) -> None:
    cpuinfo.write_text(INFO)
    found = fingerprint.processor()
    assert found["processor"] == "Some Processor @ 2.50GHz"
    assert found["instructions"] == "avx512f avx2 sse4_1"


def test_a_processor_of_which_nothing_is_known_has_its_architecture(cpuinfo: Path) -> None:
    assert not cpuinfo.exists()
    assert [*fingerprint.processor()] == ["architecture"]


def test_a_limit_in_force_is_told(cpuinfo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cpuinfo.write_text(INFO)
    before = fingerprint.processor()
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "avx2")
    told = fingerprint.differences(before, fingerprint.processor())
    assert told == "made without ATEN_CPU_CAPABILITY, here avx2"


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a checkout with one committed file and nothing else."""
    monkeypatch.setattr(fingerprint, "ROOT", tmp_path)
    (tmp_path / ".gitignore").write_text("runs/\n")
    _git(tmp_path, "init", "--quiet")
    _git(tmp_path, "add", ".gitignore")
    name = ("-c", "user.name=a", "-c", "user.email=a@b")
    _git(tmp_path, *name, "commit", "--quiet", "-m", "Begin")
    return tmp_path


def _git(folder: Path, *words: str) -> None:
    subprocess.run(["git", "-C", str(folder), *words], check=True)  # noqa: S607  the user's git


def _is_dirty() -> bool | None:
    fingerprint.git_state.cache_clear()
    try:
        return fingerprint.git_state()[1]
    finally:
        fingerprint.git_state.cache_clear()


def test_a_file_that_git_does_not_know_is_a_change_unless_it_is_ignored(checkout: Path) -> None:
    assert _is_dirty() is False
    (checkout / "runs").mkdir()
    (checkout / "runs" / "row.json").write_text("{}")
    assert _is_dirty() is False
    # Even where a user has told git not to look.
    _git(checkout, "config", "status.showUntrackedFiles", "no")
    (checkout / "methods").mkdir()
    (checkout / "methods" / "new.py").write_text("METHOD = 1\n")
    assert _is_dirty() is True


def test_a_changed_file_is_a_change(checkout: Path) -> None:
    (checkout / ".gitignore").write_text("")
    assert _is_dirty() is True


def test_outside_a_checkout_nothing_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fingerprint, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert _is_dirty() is None


# What a cell's process runs that no stage has: it puts stages and rows together, or judges
# rows, and computes nothing that a row says of its student.
GLUE = {
    "harness.contracts.suite": "what a suite asks; a cell has its own copy",
    "harness.contracts.tuning": "what was chosen; a cell has its own copy",
    "harness.engine.answers": "keeps logits under all they depend on; canaries compute theirs",
    "harness.engine.canary": "compares code with code; held by its own tests",
    "harness.engine.cell": "one stage after the other",
    "harness.engine.checkpoints": "whose checkpoint it is; what goes on ends at the same bits",
    "harness.engine.compare": "says whether plain values are alike; held by its own tests",
    "harness.engine.freshness": "judges rows",
    "harness.engine.grid": "names data sets",
    "harness.engine.jobs": "what a process is told",
    "harness.engine.packed": "reads arrays as data",
    "harness.engine.preload": "imports what is named otherwise, too",
    "harness.engine.processes": "starts and ends the process",
    "harness.engine.provenance": "where and when",
    "harness.engine.scoring": "reads what a teacher decided, to which its row is held",
    "harness.engine.settings": "what a user has set; a cell has its own copy",
    "harness.engine.trust": "says how far rows are to be believed",
    "harness.engine.traces": "what a cell has left of the process",
    "harness.engine.teachers": "finds the teacher, whose row is judged by itself",
    "harness.engine.proofs": "judges rows",
    "harness.engine.unheard": "which signals the server of processes hears",
    "harness.engine.warden": "ends the process",
    "harness.engine.worker": "turns what happens into a row",
    "harness.training.bfloat16": "taken by bfloat16 recipes alone, whose rows tell it",
    "harness.training.convolving": "taken by compiled recipes alone, whose rows tell it",
    "harness.fingerprint": "judges rows",
    "harness.results": "reads and writes rows",
    "harness.store": "reads and writes rows",
}
# Tells which files run in which process, as they do: also in those that are forked.
HOOK = """
import os, sys

def told(event, arguments):
    if event == "exec" and hasattr(arguments[0], "co_filename"):
        with open(os.environ["TOLD"], "a") as file:
            file.write(f"{os.getpid()} {arguments[0].co_filename}\\n")

sys.addaudithook(told)
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the project that trains for one epoch."""
    folder = copied(tmp_path_factory.mktemp("project"))
    for suite in (folder / "suites").glob("*.py"):
        suite.write_text(re.sub(r"epochs=\d+", "epochs=1", suite.read_text()))
    (folder / "hook").mkdir()
    (folder / "hook" / "sitecustomize.py").write_text(HOOK)
    return folder


@pytest.mark.parametrize(
    ("suite", "method"),
    [
        ("digits", "direct"),
        ("digits", "threshold_balancing"),
        ("digits_poisson", "logit_kd"),
        ("events_quick", "logit_kd"),
    ],
)
def test_a_cell_runs_no_module_that_its_closures_lack(
    project: Path, tmp_path: Path, suite: str, method: str
) -> None:
    cell, ran = _run(project, tmp_path, suite, method)
    assert cell.teacher is not None
    both = (cell, cell_of(cell.teacher))  # a cell's canary has a teacher of its own
    known = {module for one in both for code in freshness.closures(one).values() for module in code}
    assert discovery.module_of("methods", method) in ran
    # A suite says who is asked elsewhere, and whoever is asked is in the closure.
    suites = {f"suites.{name}" for name in discovery.names("suites")}
    packages = {"backends", "suites", *suites}
    assert sorted(ran - known - packages - GLUE.keys()) == []


def _run(project: Path, out: Path, suite: str, method: str) -> tuple[Cell, set[str]]:
    """Return the one cell that was run, and the modules of ours that its processes ran."""
    told = out / "told.txt"
    words = ("--methods", method, "--timesteps", "1", "--seeds", "0", "--backends", "reference")
    process = subprocess.Popen(
        [sys.executable, "-m", "harness", "run", suite, *words, "--out", str(out / "runs")],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(project / "hook"), "TOLD": str(told)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    said, _ = process.communicate(timeout=280)
    assert process.returncode == 0, said
    [row] = out.glob(f"runs/{suite}/*/row.json")
    lines = (line.split(" ", 1) for line in told.read_text().splitlines())
    files = {Path(file) for number, file in lines if int(number) != process.pid}
    ran = {_module(file.relative_to(project)) for file in files if project in file.parents}
    return Row.from_json(row.read_text()).cell, ran - {"hook.sitecustomize"}


def _module(file: Path) -> str:
    return ".".join(file.with_suffix("").parts).removesuffix(".__init__")
