"""What the texts of options mean; what means nothing is refused by its name."""

import math
import os
import re
from typing import TYPE_CHECKING, Literal

from harness.contracts.errors import SpecError

if TYPE_CHECKING:
    from harness.engine.grid import Axes


def axes_of(  # noqa: PLR0913  one option a filter
    methods: list[str] | None,
    timesteps: list[str] | None,
    seeds: list[str] | None,
    backends: list[str] | None,
    models: list[str] | None,
    recipe: str | None,
    *,
    as_chosen: bool = True,
    start: Literal["teacher"] | None = None,
    sets: list[str] | None = None,
    shard: str | None = None,
) -> "Axes":
    """Return which cells of a suite are asked for."""
    from harness.engine.grid import Axes
    from harness.engine.settings import settings_of

    return Axes(
        methods=names(methods, "--methods"),
        timesteps=numbers(timesteps, "--timesteps"),
        seeds=numbers(seeds, "--seeds"),
        backends=names(backends, "--backends"),
        models=names(models, "--models"),
        recipe=recipe,
        as_chosen=as_chosen,
        start=start,
        settings=settings_of(sets or ()),
        shard=_shard(shard),
    )


def split(texts: list[str] | None, option: str) -> tuple[str, ...] | None:
    """Return the names that an option was given, or None for all."""
    if not texts:
        return None
    parts = tuple(part.strip() for text in texts for part in text.split(",") if part.strip())
    if not parts:
        raise SpecError(f"{option} names none; name some, or leave it out for all")
    return parts


def names(texts: list[str] | None, option: str) -> tuple[str, ...] | None:
    """Return the names that an option was given, each once, or None for all."""
    parts = split(texts, option)
    return parts and tuple(dict.fromkeys(parts))


def numbers(texts: list[str] | None, option: str) -> tuple[int, ...] | None:
    """Return the whole numbers that an option was given, each once, or None for all."""
    parts = split(texts, option)
    if parts is None:
        return None
    try:
        return tuple(dict.fromkeys(map(int, parts)))
    except ValueError:
        raise SpecError(
            f"{option} takes whole numbers like 1,2,4, got {','.join(parts)!r}"
        ) from None


def floats(option: str, text: str | None) -> tuple[float, ...] | None:
    """Return the numbers that an option was given, as many as it was, or None without it."""
    if text is None:
        return None
    try:
        found = tuple(map(float, text.split(",")))
    except ValueError:
        found = (math.nan,)
    if not all(map(math.isfinite, found)):
        raise SpecError(f"{option} takes numbers like 0.5,0.5,0.5, got {text!r}")
    return found


def require_positive(option: str, value: float) -> None:
    """Refuse what is not above 0."""
    if not value > 0:
        raise SpecError(f"{option} must be positive, got {value!r}; leave it out for the default")


def slots_of(jobs: str | int | None, device: str, *, devices: int = 1, together: int = 1) -> int:
    """Return how many cells run at once, on so many devices or of so many processes each."""
    cores = os.cpu_count() or 1
    if jobs is None:
        return devices if device.startswith("cuda") else max(1, cores // together)
    if jobs == "auto" and device.startswith("cuda"):
        return max(devices, cores)
    if not re.fullmatch("-?[0-9]{1,9}", str(jobs)):
        raise SpecError(f"--jobs takes a number, or auto on a GPU, got {jobs!r} for {device}")
    require_positive("--jobs", int(jobs))
    return int(jobs)


def devices_of(device: str, devices: list[str] | None) -> tuple[str, ...]:
    """Return where cells run; several devices are GPUs by number, each once."""
    several = split(devices, "--devices")
    if several is None:
        return (_known(device),)
    if len(set(several)) != len(several) or not all(
        re.fullmatch("cuda:[0-9]+", d) for d in several
    ):
        raise SpecError(f"--devices takes GPUs like cuda:0,cuda:1, got {','.join(several)!r}")
    return several


def first_of_each(devices: tuple[str, ...], together: int) -> tuple[str, ...]:
    """Return the first GPU of each cell that has so many, one after the other."""
    if len(devices) == 1:
        return devices
    firsts = devices[::together]
    numbers = [int(first.partition(":")[2]) + more for first in firsts for more in range(together)]
    if devices != tuple(f"cuda:{number}" for number in numbers):
        raise SpecError(
            f"--gpus-per-cell {together} takes as many GPUs in a row for each cell, as "
            f"cuda:0,cuda:1 for two; got --devices {','.join(devices)}"
        )
    return firsts


_RETRIED = ("timeout", "oom", "failed", "diverged")


def statuses_of(retry: list[str] | None) -> tuple[str, ...]:
    """Return the ends after which a cell is run again."""
    asked = split(retry, "--retry") or ()
    if unknown := [one for one in asked if one not in _RETRIED]:
        raise SpecError(f"--retry takes {', '.join(_RETRIED)}, got {unknown[0]!r}")
    return asked


def seconds_of(option: str, text: str | None) -> float:
    """Return what a duration like 14m is in seconds; without one, for ever."""
    if text is None:
        return math.inf
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([smh])", text)
    if found is None:
        raise SpecError(f"{option} takes a time like 90s, 14m or 2h, got {text!r}")
    seconds = float(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2]]
    require_positive(option, seconds)
    return seconds


def limit_of(timeout: str | None) -> float | None:
    """Return what ``--timeout`` is in seconds, of which it may be a number; None without one."""
    if timeout is None:
        return None
    try:
        limit_s = float(timeout)
    except ValueError:
        return seconds_of("--timeout", timeout)
    require_positive("--timeout", limit_s)
    return limit_s


def _shard(text: str | None) -> tuple[int, int]:
    found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text or "1/1")
    if found is None:
        raise SpecError(f"--shard takes one part of several like 1/4, got {text!r}")
    return int(found[1]), int(found[2])


def _known(device: str) -> str:
    if not re.fullmatch(r"cpu|cuda(:[0-9]+)?", device):
        raise SpecError(f"--device must be cpu, cuda or cuda:N, got {device!r}")
    return device


def require_device(device: str, together: int = 1) -> None:
    """Look once whether the device is there, before every cell fails for want of it."""
    if _known(device) == "cpu":
        return
    from torch import cuda

    found, wanted = cuda.device_count(), int(device.partition(":")[2] or 0) + together
    if wanted > found:
        several = f" and {together - 1} more" if together > 1 else ""
        raise SpecError(
            f"--device {device}{several}: torch finds {found} GPUs here; --device cpu needs none"
        )
