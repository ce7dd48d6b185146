"""Sessions: what regenerates, tests and measures. Imports nothing but nox.

Suites and simulators are read from their folders, so a new one has its session without
an edit. With ``--no-venv`` nothing is installed: for machines without a network.
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2025.5.1"
# pip, because it also reads the wheels and indices that a user configured for it.
nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_venv = "yes"
nox.options.error_on_external_run = True
nox.options.sessions = ["lint", "tests"]

LOCK = "requirements.lock"
BACKENDS = sorted(
    folder.name for folder in Path("backends").iterdir() if (folder / "__init__.py").exists()
)
SUITES = sorted(file.stem for file in Path("suites").glob("*.py") if not file.stem.startswith("_"))
# Four other meters and a simulator, pinned: the tests quote what exactly these answer.
CROSS_CHECKED = (
    "neurobench==2.3.0",
    "progress==1.6.1",  # syops imports it and does not say so
    "sinabs==3.1.3",
    "snntorch==1.0.0",  # NeuroBench takes any, and its answers depend on it
    "syops==0.0.5",
)
# Simulators without a folder, whose own neurons docs/simulators.md counts the spikes of.
LOOKED_AT = ("rockpool==3.1.0",)
DONE, SOME_FAILED, NOTHING_TO_DO = 0, 1, 3
HARNESS = ("python", "-m", "harness")


def install(session: nox.Session, *groups: str) -> None:
    """Install the project and ``groups`` at the locked versions."""
    if session.venv_backend == "none":
        session.log("using the active interpreter as it is")
        return
    session.install("-c", LOCK, "-e", ".", *(f"--group={group}" for group in groups))


def older_nir(session: nox.Session) -> str:
    """Return the lock without ``nir``, of which Sinabs needs an older one, as a file."""
    locked = Path(LOCK).read_text(encoding="utf-8").splitlines(keepends=True)
    constraints = Path(session.create_tmp()) / LOCK
    kept = "".join(line for line in locked if not line.startswith("nir"))
    constraints.write_text(kept, encoding="utf-8")
    return str(constraints)


@nox.session
def tests(session: nox.Session) -> None:
    """Run the test suite; arguments go to pytest."""
    install(session, "test")
    session.run("python", "-m", "pytest", "--numprocesses=auto", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, types and the direction of imports."""
    install(session, "lint")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
    session.run("lint-imports")


@nox.session(default=False)
@nox.parametrize("backend", BACKENDS, ids=BACKENDS)
def conformance(session: nox.Session, backend: str) -> None:
    """Hold one simulator to the laws every simulator must obey."""
    install(session, "test")
    needed = Path("backends", backend, "requirements.txt")
    if needed.exists() and session.venv_backend != "none":
        session.install("-c", older_nir(session), "-r", str(needed))
    session.run(*HARNESS, "conform", backend)
    session.run("python", "-m", "pytest", "tests/conformance", f"--backend={backend}")


@nox.session(default=False)
def cross_check(session: nox.Session) -> None:
    """Hold the meter against four others, which are installed nowhere else."""
    if session.venv_backend != "none":
        session.install("-c", older_nir(session), "-e", ".", "--group=test", *CROSS_CHECKED)
    tests = session.posargs or ["tests/cross_check"]
    session.run("python", "-m", "pytest", *tests, env={"SNN_DISTILL_CROSS_CHECK": "1"})


@nox.session(default=False)
def simulators(session: nox.Session) -> None:
    """Write docs/simulators.md: what each can mean, its speed and memory; ``-- --device cuda``."""
    if session.venv_backend != "none":
        needed = [f"-r{file}" for file in sorted(Path("backends").glob("*/requirements.txt"))]
        session.install("-c", older_nir(session), "-e", ".", *needed, *LOOKED_AT)
    page = "docs/simulators.md"
    # XLA would take all cores where the others have one.
    one_thread = {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false"}
    command = ("python", "-m", "benchmarks.simulators", "--write", page, *session.posargs)
    session.run(*command, env=one_thread)


@nox.session(default=False)
def exchange(session: nox.Session) -> None:
    """Write ``docs/exchange.md``: one student in other simulators' importers, and as ONNX."""
    if session.venv_backend != "none":
        session.install("-c", LOCK, "-e", ".[onnx]", "snntorch==1.0.0", "matplotlib", "pbr")
        # Sinabs asks for an older nir than the one whose files are read here, and for a chip's
        # driver that fetches itself when it is imported.
        session.install("--no-deps", "sinabs==3.1.3")
    session.run("python", "-m", "benchmarks.exchange", *session.posargs)


@nox.session(default=False)
def cluster(session: nox.Session) -> None:
    """Run cells on a Ray cluster of two nodes on this machine, and lose one of them."""
    if session.venv_backend != "none":
        session.install("-c", LOCK, "-e", ".[cluster]", "--group=test")
    tests = session.posargs or ["tests/cluster"]
    session.run("python", "-m", "pytest", *tests)


@nox.session(default=False)
def portability(session: nox.Session) -> None:
    """Ask whether other processors decide alike: ``nox -s portability -- [--all]``."""
    install(session)
    session.run("python", "-m", "benchmarks.portability", *session.posargs)


@nox.session(default=False)
def mutants(session: nox.Session) -> None:
    """Change one number or operator at a time and see a test fail: ``nox -s mutants -- [FILE]``.

    ``--sample N --seed S`` draws so many by chance: all of them take hours.
    """
    install(session, "test")
    session.run("python", "-m", "tests.mutants", *session.posargs)


@nox.session(default=False)
def chaos(session: nox.Session) -> None:
    """Kill a run at random moments, see that nothing is lost: ``nox -s chaos -- [--kills N]``."""
    install(session, "test")
    session.run("python", "-m", "tests.chaos", *session.posargs)


@nox.session(default=False)
def leaderboard(session: nox.Session) -> None:
    """Regenerate a leaderboard: ``nox -s leaderboard -- [SUITE] [options of harness run]``.

    Published rows are made again, and what comes out is compared with them.
    """
    install(session)
    suite, options, shared = asked(session)
    codes = [DONE, SOME_FAILED, NOTHING_TO_DO]
    session.run(*HARNESS, "run", suite, "--again", *options, *shared, success_codes=codes)
    session.run(*HARNESS, "publish", suite, *shared)
    describe(session)
    if Path(".git").exists():
        out = next((each.partition("=")[2] for each in shared if "--out" in each), "runs")
        session.run(*HARNESS, "compare", "HEAD", out, f"--suite={suite}", success_codes=[0, 2])


@nox.session(default=False)
def reverify(session: nox.Session) -> None:
    """Prove that moved code means the same: ``nox -s reverify -- [SUITE] [--sample N]``."""
    install(session)
    suite, options, shared = asked(session)
    codes = [DONE, NOTHING_TO_DO]
    session.run(*HARNESS, "reverify", suite, *options, *shared, success_codes=codes)


@nox.session(default=False)
def report(session: nox.Session) -> None:
    """Write all that follows from published rows anew: ``nox -s report -- [SUITE]``.

    The tables, the page about methods and the README's; no row changes.
    """
    install(session)
    suite, options, shared = asked(session)
    session.run(*HARNESS, "publish", suite, "--tables", *options, *shared)
    describe(session)


def describe(session: nox.Session) -> None:
    """Write the page about methods and the README's tables, which quote the published rows."""
    session.run("python", "-m", "harness.report.readme")
    with Path("docs/methods.md").open("w", encoding="utf-8") as page:
        session.run(*HARNESS, "list", "methods", "--markdown", stdout=page)


@nox.session(default=False)
def page(session: nox.Session) -> None:
    """Try the page in Chromium, which the system provides; arguments go to pytest."""
    install(session, "page")
    tests = session.posargs or ["tests/browser"]
    session.run("python", "-m", "pytest", *tests, env={"SNN_DISTILL_BROWSER": "1"})


@nox.session(default=False)
def site(session: nox.Session) -> None:
    """Lay out all leaderboards and the docs for static hosting: ``nox -s site -- [FOLDER]``."""
    install(session)
    session.run("python", "-m", "harness.report.site", *session.posargs)


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Time this commit with asv; arguments go to ``asv run``."""
    install(session, "bench")
    commit = str(session.run("git", "rev-parse", "HEAD", external=True, silent=True)).strip()
    session.run("asv", "machine", "--yes", silent=True)
    # Without a commit hash, asv throws results of an existing environment away.
    # 2 is a benchmark that failed: the table says which, and fails for it.
    command = ("asv", "run", f"--set-commit-hash={commit}", *session.posargs)
    session.run(*command, success_codes=[0, 2])
    session.run("python", "-m", "benchmarks.table", commit)


@nox.session(default=False)
def perf_gate(session: nox.Session) -> None:
    """Compare with another commit's speed: ``nox -s perf_gate -- BASE [--only NAME ...]``."""
    install(session)
    end_as(session, "-m", "benchmarks.perf_gate", *session.posargs)


@nox.session(default=False)
def gpu(session: nox.Session) -> None:
    """Ask a GPU what is worth asking: ``nox -s gpu -- [--minutes 10] [--teacher FILE]``."""
    install(session, "test")
    end_as(session, "-m", "benchmarks.gpu", *session.posargs)


def end_as(session: nox.Session, *arguments: str) -> None:
    """Run Python and end nox with its exit code, where nox itself knows only 0 and 1."""
    path = os.pathsep.join([*(session.bin_paths or []), os.environ["PATH"]])
    python = shutil.which("python", path=path) or sys.executable
    if code := subprocess.run([python, *arguments], check=False).returncode:  # noqa: S603
        sys.exit(code)


def asked(session: nox.Session) -> tuple[str, list[str], list[str]]:
    """Return the suite, the options of ``run`` alone and those it shares with ``report``."""
    parser = argparse.ArgumentParser(prog=f"nox -s {session.name} --", add_help=False)
    parser.add_argument("--out")
    parser.add_argument("--data-root")
    words = list(session.posargs)
    # Before all options, for what follows one may be its value.
    suite = words.pop(0) if words and not words[0].startswith("-") else "digits"
    if suite not in SUITES:
        parser.error(f"the first word must be a suite ({', '.join(SUITES)}), got {suite!r}")
    known, options = parser.parse_known_args(words)
    shared = [f"--out={known.out}"] if known.out else []
    shared += [f"--data-root={known.data_root}"] if known.data_root else []
    return suite, options, shared
