"""Everything a GPU should be asked in a few minutes, in order of worth.

    python -m benchmarks.gpu [--minutes 10] [--out gpu-session] [--teacher resnet20-12fca82f.th]

Needs Python, torch with CUDA and what the harness imports, not nox: machines with a GPU are
often bare. Each part is a process with a limit of its own, writes its words to a log, and
harms no other; after each, ``session.json`` and ``session.md`` are whole.

Exit codes: 0 every part went well, 1 some did not, 3 there is no CUDA device.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from benchmarks._processes import ROOT, end_tidily_if_stopped, search_path
from benchmarks._timing import LESS
from harness import fingerprint

Status = Literal["ok", "failed", "cut off", "no time"]
DONE, SOME_FAILED, NO_DEVICE = 0, 1, 3
LEAST_S = 5.0  # a part with less than that is not begun
PACKAGES = ("torch", "spikingjelly", "norse", "triton", "kornia", "numpy", "pytest", "tonic")
# Whole cells that need no data: in float64 they have to say what is published.
CELLS = (
    *("run", "digits", "--recipe=short", "--methods=direct,logit_kd", "--timesteps=2"),
    *("--seeds=0", "--device=cuda", "--again"),
)
# One cell of 30 epochs, as much of it as there is time for, and the teacher it is measured against.
TEACHER = ("--model=resnet20", "--dataset=cifar10", "--normalisation=imagenet")
RUN = (
    *("run", "cifar10_speedrun", "--recipe=credible", "--methods=direct", "--timesteps=2"),
    *("--seeds=0", "--backends=spikingjelly", "--device=cuda", "--again", "--for={limit}s"),
)


@dataclass(frozen=True, kw_only=True)
class Part:
    """One question to the GPU.

    Attributes:
        name: Of its log, too.
        command: What to run; ``{limit}`` in a word is nine tenths of the seconds it has, for
            what can end itself.
        limit_s: The most it may take.
    """

    name: str
    command: tuple[str, ...]
    limit_s: float


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a part ended.

    Attributes:
        name: The part's.
        status: ``cut off`` at its limit, ``no time`` if it was not begun.
        seconds: Wall clock.
        code: The exit code; None if it did not end by itself.
        words: The last line it said.
    """

    name: str
    status: Status
    seconds: float
    code: int | None
    words: str

    def line(self) -> str:
        """Return the outcome as one line of text."""
        return f"{self.status:8}{self.name:24}{self.seconds:7.1f} s  {self.words}"


def parts(out: Path, teacher: Path | None = None) -> Iterator[Part]:
    """Yield what is asked, what is worth most first; a cell of CIFAR-10 if ``teacher`` is here."""
    python = (sys.executable, "-m")
    ours = (*python, "benchmarks.gpu", "--part")
    yield Part(name="environment", command=(*ours, "environment"), limit_s=60)
    for backend in ("spikingjelly", "norse"):
        yield Part(
            name=f"laws-{backend}", command=(*python, "harness", "conform", backend), limit_s=150
        )
    yield Part(
        name="capture",
        command=(*python, "pytest", *tests_for_cuda()),
        limit_s=90,
    )
    canaries = (*python, "harness", "reverify", "digits", "--sample=8", f"--out={out / 'runs'}")
    yield Part(name="canaries", command=canaries, limit_s=90)
    yield Part(
        name="cells", command=(*python, "harness", *CELLS, f"--out={out / 'runs'}"), limit_s=120
    )
    for name in STEPS:
        yield Part(
            name=f"steps-{name}",
            command=(*ours, f"steps-{name}", "--out", str(out)),
            limit_s=90,
        )
    setting = ("--device=cuda", "--model=resnet18", "--timesteps=4", "--batch=128", "--steps=10")
    # Of one peer, and its speed alone: every contender compiles, and memory asks each once more.
    brief = ("--peers=spikingjelly", "--no-memory", f"--json={out / 'peers.json'}")
    peers = (*python, "benchmarks.peers", *setting, *brief)
    yield Part(name="peers", command=peers, limit_s=150)
    if teacher is None:
        return
    harness, runs = (*python, "harness"), f"--out={out / 'runs'}"
    imported = ("teacher", "import", str(teacher), *TEACHER, "--saw=all 50,000 images", runs)
    yield Part(name="teacher", command=(*harness, *imported), limit_s=60)
    yield Part(name="run", command=(*harness, *RUN, runs), limit_s=300)
    packed = f"--out={out / 'rows.bundle.zip'}"
    bundled = ("bundle", "cifar10_speedrun", f"--runs={out / 'runs'}", packed)
    yield Part(name="bundle", command=(*harness, *bundled), limit_s=60)


def tests_for_cuda() -> tuple[str, ...]:
    """Return the test files that ask for a device or are about capture, neurons' laws apart.

    Not all tests: others may need what is not installed, and even to look at them takes time.
    """
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    return tuple(
        str(file.relative_to(ROOT))
        for file in files
        if "conformance" not in file.parts
        and ("captur" in file.name or "cuda.is_available()" in file.read_text(encoding="utf-8"))
    )


def held(part: Part, out: Path, deadline: float) -> Outcome:
    """Run one part until it ends, or until its limit or ``deadline`` of ``time.monotonic``."""
    begun = time.monotonic()
    limit_s = min(part.limit_s, deadline - begun)
    if limit_s < min(LEAST_S, part.limit_s):
        return Outcome(name=part.name, status="no time", seconds=0.0, code=None, words="")
    log = out / f"{part.name}.log"
    command = [word.replace("{limit}", f"{0.9 * limit_s:.0f}") for word in part.command]
    with log.open("wb") as words:
        process = subprocess.Popen(  # noqa: S603  our own modules
            command,
            stdin=subprocess.DEVNULL,
            stdout=words,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": search_path()},
            start_new_session=True,
        )
        code = ended(process, limit_s)
    return Outcome(
        name=part.name,
        status="cut off" if code is None else "failed" if code else "ok",
        seconds=time.monotonic() - begun,
        code=code,
        words=last_line(log),
    )


def ended(process: subprocess.Popen[bytes], limit_s: float) -> int | None:
    """Return the exit code; at the limit, or if we are stopped, end all that it started."""
    code = None
    try:
        code = process.wait(limit_s)
    except subprocess.TimeoutExpired:
        pass
    finally:
        if code is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return code


def last_line(log: Path) -> str:
    """Return the last words of a log, shortened."""
    said = log.read_text(encoding="utf-8", errors="replace").split("\n")
    lines = [line.strip() for line in said if line.strip()]
    return lines[-1][:200] if lines else ""


def conduct(asked: Sequence[Part], out: Path, *, seconds: float) -> list[Outcome]:
    """Run the parts in order, none beyond ``seconds`` in all; write down each at once."""
    out.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + seconds
    outcomes: list[Outcome] = []
    for part in asked:
        outcomes.append(held(part, out, deadline))
        print(outcomes[-1].line(), flush=True)
        write(outcomes, out)
    return outcomes


def write(outcomes: Sequence[Outcome], out: Path) -> None:
    """Write what is known so far, for machines and for people."""
    whole = {
        "outcomes": [asdict(one) for one in outcomes],
        "steps": [row for _, row in steps_found(out)],
    }
    (out / "session.json").write_text(json.dumps(whole, indent=1), encoding="utf-8")
    (out / "session.md").write_text("\n".join(page(outcomes, out)) + "\n", encoding="utf-8")


def page(outcomes: Sequence[Outcome], out: Path) -> Iterator[str]:
    """Yield the lines of the page for people."""
    yield "| part | outcome | seconds | last words |"
    yield "| --- | --- | ---: | --- |"
    for one in outcomes:
        words = one.words.replace("|", "\\|")
        yield f"| {one.name} | {one.status} | {one.seconds:.1f} | {words} |"
    if rows := steps_found(out):
        yield f"\n| step | way | ms, {LESS} | images/s |"
        yield "| --- | --- | ---: | ---: |"
        for name, row in rows:
            for way, step_ms in row["ms"].items():
                yield f"| {name} | {way} | {step_ms:.2f} | {1000 * row['batch'] / step_ms:.0f} |"


def steps_found(out: Path) -> list[tuple[str, dict[str, Any]]]:
    """Return what the parts that time steps have written, by name."""
    files = sorted(out.glob("steps-*.json"))
    return [(file.stem, json.loads(file.read_text(encoding="utf-8"))) for file in files]


def bundle(out: Path) -> Path:
    """Pack all that was written but weights and arrays, to carry it away."""
    packed = out / "session.tar.gz"
    with tarfile.open(packed, "w:gz") as archive:
        for file in sorted(out.rglob("*")):
            if file.suffix in {".json", ".jsonl", ".md", ".log", ".txt", ".zip"}:
                archive.add(file, file.relative_to(out))
    return packed


# The parts that are ours. Each imports torch itself: the conductor must not hold the card.

# name: model, timesteps, batch
STEPS = {"resnet20-T2": ("resnet20", 2, 128), "resnet18-T4": ("resnet18", 4, 128)}


def environment() -> None:
    """Print what is here, one JSON value."""
    import torch

    card = torch.cuda.get_device_properties(0)
    print(
        json.dumps(
            {
                "gpu": card.name,
                "memory_gib": round(card.total_memory / 2**30, 1),
                "cuda": torch.version.cuda,
                "python": sys.version.split()[0],
                "cores": os.cpu_count(),
                "commit": fingerprint.git_state()[0],
                **{name: fingerprint.installed(name) for name in PACKAGES},
            }
        )
    )


def time_ways(name: str, out: Path) -> None:
    """Time one step of ``logit_kd`` in bfloat16, teacher included, in three ways.

    The harness' own step; the plain loop; and the plain loop's kernels replayed as one CUDA
    graph, which is what the card needs where Python costs nothing.
    """
    from benchmarks import peers

    model, timesteps, batch = STEPS[name]
    setting = peers.Setting(
        model=model, timesteps=timesteps, batch=batch, method="logit_kd", device="cuda"
    )
    network = peers.ours("spikingjelly", setting)
    found = {"harness": median_ms(peers.our_step(network, setting, "bfloat16"))}
    told = {"batch": batch, "ms": found}
    file = out / f"steps-{name}.json"
    for way, made in (("plain loop", plain_loop), ("one CUDA graph", one_graph)):
        network = peers.ours("spikingjelly", setting)
        found[way] = median_ms(made(network, setting))
        file.write_text(json.dumps(told), encoding="utf-8")  # the next way may fail
    print(", ".join(f"{way} {ms:.2f} ms" for way, ms in found.items()))


def plain_loop(network: Any, setting: Any) -> Callable[[], object]:
    """Return one step as one writes it down, reading no loss."""
    import torch

    from benchmarks import peers
    from harness import discovery
    from harness.contracts.model import Output

    method: Any = discovery.load("methods", setting.method)
    lesson = peers.lesson_of(setting, "bfloat16")
    batch = next(iter(lesson))
    optimiser = torch.optim.SGD(
        network.parameters(), lr=0.01, momentum=0.9, nesterov=True, fused=True
    )

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        with lesson.autocast():
            answer = network(batch.stimulus, setting.timesteps)
            output = Output(logits=answer.logits.float())
            error = method.loss(output, lesson.answer(batch), batch.labels)
        error.backward()
        optimiser.step()

    return step


def one_graph(network: Any, setting: Any) -> Callable[[], object]:
    """Return the replay of ``plain_loop``'s step, captured after a few on a side stream."""
    import torch

    step = plain_loop(network, setting)
    aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def median_ms(step: Callable[[], object]) -> float:
    """Return the median over rounds of a step's milliseconds, the card's work included."""
    import torch

    rounds, steps, taken = 7, 20, []
    for _ in range(rounds + 2):  # two to warm up
        torch.cuda.synchronize()
        begun = time.perf_counter()
        for _ in range(steps):
            step()
        torch.cuda.synchronize()
        taken.append((time.perf_counter() - begun) / steps)
    return 1000 * statistics.median(taken[2:])


def has_cuda() -> bool:
    """Return whether torch sees a device, asked in a process that does not stay on it."""
    code = "import sys, torch; sys.exit(not torch.cuda.is_available())"
    return subprocess.run([sys.executable, "-c", code], check=False).returncode == 0  # noqa: S603


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--out", type=Path, default=Path("gpu-session"))
    parser.add_argument(
        "--teacher", type=Path, help="The checkpoint for which a cell of CIFAR-10 is run, too."
    )
    parser.add_argument("--part", help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    out = asked.out.resolve()
    teacher = asked.teacher and asked.teacher.resolve()
    if teacher and not teacher.is_file():
        parser.error(f"--teacher must be a file, got {asked.teacher}")
    if asked.part == "environment":
        environment()
    elif asked.part:
        time_ways(asked.part.removeprefix("steps-"), out)
    elif not has_cuda():
        print("no CUDA device is seen by torch here: nothing to ask")
        return NO_DEVICE
    else:
        end_tidily_if_stopped()
        try:
            outcomes = conduct(list(parts(out, teacher)), out, seconds=60 * asked.minutes)
        finally:
            print(bundle(out))
        return DONE if all(one.status == "ok" for one in outcomes) else SOME_FAILED
    return DONE


if __name__ == "__main__":
    sys.exit(main())
