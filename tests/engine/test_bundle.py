"""A bundle is data: what went in comes out, and whatever else is in it is refused by name."""

import hashlib
import io
import json
import pickle
import stat
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from harness import cli
from harness.cli.options import Exit
from harness.contracts.errors import StoreError
from harness.contracts.row import Row
from harness.engine import bundle, packed
from harness.store import PREDICTIONS, Store
from tests.engine.evidence import (
    CODE,
    MODULES,
    TEACHERS_CELL,
    decided,
    files,
    kept,
    machine,
    metrics_of,
)
from tests.report.rows import cell

ROOT = Path(__file__).parents[2]
Members = dict[str, bytes]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a bundle of three rows and a teacher, with weights."""
    folder = tmp_path_factory.mktemp("made")
    bundle.write("toy", machine(folder / "runs", 0, 1, 2), folder / "it.zip", weights=True)
    return folder / "it.zip"


def members(path: Path) -> Members:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(path: Path, content: Members) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, each in content.items():
            archive.writestr(name, each)
    return path


def sealed(content: Members) -> Members:
    """Return ``content`` with a manifest that has the hashes of its texts."""
    told = json.loads(content["manifest.json"])
    for name in told["texts"]:
        told["texts"][name] = hashlib.sha256(content[name]).hexdigest()
    return content | {"manifest.json": json.dumps(told).encode()}


def read(path: Path) -> dict[str, Any]:
    """Return all that is in a bundle."""
    with bundle.opened(path) as found:
        return {
            name: (row, _plain(found.arrays(row)), found.weights(row))
            for name, row in found.rows.items()
        }


def _plain(arrays: packed.Arrays | None) -> Any:
    return arrays and {name: (str(one.dtype), one.tolist()) for name, one in arrays.items()}


def refusal(path: Path) -> str:
    with pytest.raises(StoreError) as caught:
        read(path)
    words = str(caught.value)
    assert "\n" not in words
    assert path.name in words
    assert "; " in words, "no remedy"
    return words


# What goes in comes out


def test_what_is_bundled_is_read_back(tmp_path: Path) -> None:
    runs = machine(tmp_path / "runs", 0, 1)
    made = bundle.write("toy", runs, tmp_path / "it.zip", weights=True)
    assert (made.rows, made.teachers, made.refused) == (2, 1, ())
    assert made.file_bytes == (tmp_path / "it.zip").stat().st_size
    with bundle.opened(tmp_path / "it.zip") as found:
        assert {row.cell.seed for row in found.rows.values() if row.cell != TEACHERS_CELL} == {0, 1}
        assert found.code == {CODE: MODULES}
        for row in found.rows.values():
            folder = Store(runs).folder(row.cell)
            assert Store(runs).load(row.cell) == row
            assert found.weights(row) == (folder / "weights.safetensors").read_bytes()
            arrays = found.arrays(row)
            assert arrays is not None
            with np.load(folder / PREDICTIONS) as stored:
                for name in ("predictions", "labels"):
                    np.testing.assert_array_equal(arrays[name], stored[name], strict=True)


def test_equal_evidence_gives_equal_bytes_and_weights_are_left_out_unless_asked_for(
    tmp_path: Path,
) -> None:
    for name, seeds in (("first", (0, 1, 2)), ("second", (2, 1, 0))):
        bundle.write("toy", machine(tmp_path / name, *seeds), tmp_path / f"{name}.zip")
    first, second = (tmp_path / f"{name}.zip" for name in ("first", "second"))
    assert first.read_bytes() == second.read_bytes()
    assert not any(name.startswith("weights/") for name in members(first))
    with bundle.opened(first) as found:
        assert not any(map(found.has_weights, found.rows.values()))


def test_arrays_of_other_kinds_travel_as_they_are(tmp_path: Path) -> None:
    row = kept(tmp_path, cell("plain"))
    others = {
        "boxes": np.linspace(0, 1, 40).reshape(20, 2),
        "groups": np.arange(20, dtype=np.uint16),
        "seen": np.arange(20) % 2 == 0,
        "far": np.array([-(2**63), 2**63 - 1]),
        "none": np.zeros((0, 3), np.int64),
    }
    arrays = {**decided(0, 2), **others}
    (Store(tmp_path).folder(row.cell) / PREDICTIONS).write_bytes(packed.to_npz(arrays))
    bundle.write("toy", tmp_path, tmp_path / "it.zip")
    with bundle.opened(tmp_path / "it.zip") as found:
        back = found.arrays(row)
    assert back is not None
    assert back.keys() == arrays.keys()
    for name, one in arrays.items():
        np.testing.assert_array_equal(back[name], one, strict=True)


def test_a_hundred_cells_are_less_than_a_megabyte(tmp_path: Path) -> None:
    chosen = sorted((ROOT / "results" / "digits").glob("[a-e]*.jsonl"))[:10]
    lines = [line for path in chosen for line in path.read_bytes().splitlines()[:10]]
    rows = [row for line in lines if (row := Row.from_json(line)).metrics]
    assert len(rows) > 90
    for place, row in enumerate(rows):
        assert row.metrics is not None
        arrays = decided(place, row.cell.timesteps, row.metrics.n_test)
        row = replace(row, metrics=replace(row.metrics, **vars(metrics_of(arrays))))  # noqa: PLW2901
        folder = Store(tmp_path).folder(row.cell)
        folder.mkdir(parents=True)
        (folder / "row.json").write_text(row.to_json())
        (folder / PREDICTIONS).write_bytes(packed.to_npz(arrays))
    assert bundle.write("digits", tmp_path, tmp_path / "it.zip").file_bytes < 1e4 * len(rows)


def test_what_contradicts_its_row_is_not_bundled(tmp_path: Path) -> None:
    runs = machine(tmp_path, 0, 1, 2)
    store, (lied, broken) = Store(runs), (cell("plain", seed=seed) for seed in (0, 1))
    (store.folder(lied) / PREDICTIONS).write_bytes(packed.to_npz(decided(7, 2)))
    (store.folder(broken) / "weights.safetensors").write_bytes(b"others")
    made = bundle.write("toy", runs, tmp_path / "it.zip", weights=True)
    assert made.rows == 1
    assert sorted(words.partition(" ")[2][:30] for words in made.refused)
    assert any(lied.cell_id in words and "predictions beside it" in words for words in made.refused)
    assert any("holds other weights than its row" in words for words in made.refused)
    with pytest.raises(StoreError, match="no rows of other to be bundled; run it first"):
        bundle.write("other", runs, tmp_path / "none.zip")
    with pytest.raises(
        StoreError, match=r"^there is no folder .*, so no rows of toy; run it first"
    ):
        bundle.write("toy", tmp_path / "nowhere", tmp_path / "none.zip")


def test_the_command_line_tells_rows_and_bytes(tmp_path: Path) -> None:
    runs = machine(tmp_path / "runs", 0, 1)
    file = tmp_path / "it.zip"
    ask = ("bundle", "toy", "--runs", str(runs), "--out", str(file))
    told = CliRunner().invoke(cli.app, ask)
    assert (told.exit_code, told.output) == (
        0,
        f"2 rows and 1 teachers, {file.stat().st_size / 1e6:.2f} MB -> {file}\n",
    )
    told = CliRunner().invoke(cli.app, (*ask, "--json"))
    assert json.loads(told.output)["file_bytes"] == file.stat().st_size
    (Store(runs).folder(cell("plain")) / "row.json").write_text("{half")
    told = CliRunner().invoke(cli.app, ask)
    assert told.exit_code == 1
    assert "refused: " in told.output


@pytest.mark.parametrize("words", [("verify",), ("merge",), ("bundle", "digits", "--runs")])
def test_published_rows_are_no_runs_and_what_checks_them_is_said(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    for folder in (ROOT / "results", ROOT / "results" / "digits"):
        told = CliRunner().invoke(cli.app, (*words, str(folder), "--out", str(tmp_path / "out")))
        assert isinstance(told.exception, StoreError)
        assert str(told.exception).startswith(
            f"{folder} holds published rows, which travel by git; `reverify` and `reproduce` check"
        )
    (tmp_path / "empty").mkdir()
    told = CliRunner().invoke(cli.app, ("verify", str(tmp_path / "empty"), "--out", str(tmp_path)))
    assert told.exit_code == Exit.NOTHING_TO_DO


# Whatever else is in it is refused


def test_what_is_no_zip_is_refused(tmp_path: Path) -> None:
    for content in (b"", b"PK\x05\x06", b"\x1f\x8b" + bytes(40), b"PK" * 99):
        (tmp_path / "it.zip").write_bytes(content)
        assert "is no bundle and no folder" in refusal(tmp_path / "it.zip")
    assert "there is no " in refusal(tmp_path / "absent")
    zipped(tmp_path / "it.zip", {})
    assert "no manifest.json" in refusal(tmp_path / "it.zip")


@pytest.mark.parametrize(
    "name",
    [
        *("../evil.txt", "/etc/evil", "rows.jsonl/", "arrays/../../evil.npy", "C:\\evil"),
        *("arrays/short.npy", "weights/" + "g" * 64 + ".safetensors", "setup.py", "x" * 60_000),
    ],
)
def test_a_name_that_no_bundle_has_is_refused(made: Path, tmp_path: Path, name: str) -> None:
    before = files(tmp_path)
    path = zipped(tmp_path / "it.zip", members(made) | {name: b"evil"})
    assert "has no place in such a file" in refusal(path)
    assert files(tmp_path).keys() == before.keys() | {"it.zip"}


def _changed(path: Path, change: Callable[[zipfile.ZipInfo], None], content: Members) -> Path:
    """Write a zip of which one member says something else of itself."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, each in content.items():
            member = zipfile.ZipInfo(name)
            member.external_attr = 0o644 << 16
            if name == "rows.jsonl":
                change(member)
            archive.writestr(member, each)
    return path


def test_a_link_and_another_packing_are_refused(made: Path, tmp_path: Path) -> None:
    def link(member: zipfile.ZipInfo) -> None:
        member.external_attr = (stat.S_IFLNK | 0o777) << 16

    def bzip2(member: zipfile.ZipInfo) -> None:
        member.compress_type = zipfile.ZIP_BZIP2

    assert "as a link is" in refusal(_changed(tmp_path / "a", link, members(made)))
    assert "packed by method 12" in refusal(_changed(tmp_path / "b", bzip2, members(made)))


def test_a_member_that_is_there_twice_is_refused(made: Path, tmp_path: Path) -> None:
    path = tmp_path / "it.zip"
    path.write_bytes(made.read_bytes())
    with warnings.catch_warnings(), zipfile.ZipFile(path, "a") as archive:
        warnings.simplefilter("ignore")
        archive.writestr("rows.jsonl", b"")
    assert "'rows.jsonl' is there twice" in refusal(path)


def test_an_encrypted_member_is_refused(made: Path, tmp_path: Path) -> None:
    content = bytearray(made.read_bytes())
    content[content.find(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "it.zip").write_bytes(content)
    assert "is encrypted" in refusal(tmp_path / "it.zip")


def test_a_bomb_is_not_unpacked(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = zipped(tmp_path / "it.zip", members(made) | {"rows.jsonl": bytes(10_000_000)})
    assert path.stat().st_size < 100_000
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda *_: pytest.fail("it was unpacked"))
    monkeypatch.setattr(bundle, "_TEXT_BYTES", 9_999_999)
    assert "would be 10000000 bytes unpacked" in refusal(path)
    monkeypatch.undo()
    monkeypatch.setattr(bundle, "_TOGETHER_BYTES", 9_999_999)
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda *_: pytest.fail("it was unpacked"))
    assert "bytes unpacked, and at most 9999999" in refusal(path)


def test_an_array_that_would_be_longer_than_its_row_is_refused(made: Path, tmp_path: Path) -> None:
    content = members(made)
    told = json.loads(content["manifest.json"])
    long = packed.to_npy(np.zeros(1_000_000, np.int8))
    address = hashlib.sha256(long).hexdigest()
    first = next(iter(told["arrays"].values()))
    first["more"] = {"sha256": address, "dtype": "int64", "minus": None}
    content |= {"manifest.json": json.dumps(told).encode(), f"arrays/{address}.npy": long}
    assert "more has 1000000 numbers" in refusal(zipped(tmp_path / "it.zip", content))


def _with_row(made: Path, change: Callable[[list[bytes]], list[bytes]]) -> Members:
    content = members(made)
    lines = change(content["rows.jsonl"].splitlines())
    return sealed(content | {"rows.jsonl": b"\n".join(lines) + b"\n"})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda lines: [*lines, lines[0]], "rows.jsonl line 4: cell .* has a row already"),
        (
            lambda lines: [lines[0].replace(b'"score": 0.', b'"score": NaN, "x": 0.')],
            "rows.jsonl line 1: ",
        ),
        (
            lambda lines: [
                lines[0].replace(b'"schema_version": 3', b'"schema_version": 9, "new": 1')
            ],
            "line 1: a row of schema 9, and this version reads up to 3; update the harness",
        ),
        (lambda lines: [lines[0].replace(b'"toy"', b'"../toy"')], "line 1: "),
        (
            lambda lines: [lines[0][:-1] + b', "y": "' + b"z" * 200_000 + b'"}'],
            "no row has so many",
        ),
        (lambda lines: [lines[0].replace(b'"seed": ', b'"seed": 1')], "it was edited"),
        (lambda _: [b"[" * 100_000], "line 1: Row: "),
        (lambda _: [b"\xff\xfe"], "line 1: Row: "),
    ],
)
def test_a_row_that_is_none_is_refused_with_its_line(
    made: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[list[bytes]], list[bytes]],
    words: str,
) -> None:
    monkeypatch.setattr(bundle, "ROW_BYTES", 150_000)
    path = zipped(tmp_path / "it.zip", _with_row(made, change))
    with pytest.raises(StoreError, match=words):
        read(path)
    refusal(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": 7, "colour": "red"}, "it is of format 7, and this version reads 1; update"),
        ({"colour": "red"}, r"Manifest.colour: unexpected keyword argument"),
        ({"texts": {}}, "Manifest.texts must be rows.jsonl"),
        ({"weights": ["0" * 64]}, "weights/0+.safetensors is missing"),
        ({"weights": []}, "weights/.*.safetensors is not in its manifest"),
        ({"weights": ["../evil"]}, r"Manifest.weights.0: string should match"),
        ({"suite": "other"}, "rows.jsonl line 1 is of suite 'toy'"),
        ({"arrays": {"0" * 16: {}}}, "is not in its manifest"),
        ({"format": 1.5}, r"Manifest.format: input should be 1"),
    ],
)
def test_a_manifest_that_says_otherwise_is_refused(
    made: Path, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    content = members(made)
    told = json.loads(content["manifest.json"]) | change
    path = zipped(tmp_path / "it.zip", content | {"manifest.json": json.dumps(told).encode()})
    with pytest.raises(StoreError, match=words):
        read(path)
    refusal(path)


@pytest.mark.parametrize("name", ["rows.jsonl", "arrays/", "weights/", "code.json"])
def test_what_is_not_what_its_hash_says_is_refused(made: Path, tmp_path: Path, name: str) -> None:
    content = members(made)
    place = next(one for one in content if one.startswith(name))
    path = zipped(tmp_path / "it.zip", content | {place: content[place] + b" "})
    assert f"{place} is not what its hash says" in refusal(path)


def test_code_that_is_not_what_its_fingerprint_says_is_refused(made: Path, tmp_path: Path) -> None:
    content = members(made)
    other = content["code.json"].replace(b"11111111", b"11111112")
    path = zipped(tmp_path / "it.zip", sealed(content | {"code.json": other}))
    assert f"the modules noted of code '{CODE}' are others" in refusal(path)
    for text in (b"[]", b'{"modules": ["a"], "fingerprints": {}}', b'{"modules": 1}'):
        refusal(zipped(tmp_path / "it.zip", sealed(content | {"code.json": text})))


class Evil:
    def __reduce__(self) -> Any:
        return pytest.fail, ("it was unpickled",)


def _npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


HEAD = b"\x93NUMPY\x01\x00"


@pytest.mark.parametrize(
    "array",
    [
        pickle.dumps(Evil()),
        _npy(np.array([1, 2]).astype("M8[s]")),
        _npy(np.array(["a"])),
        _npy(np.zeros(2, [("a", np.int64)])),
        HEAD + b"\x76\x00" + b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }".ljust(118),
        HEAD
        + b"\x76\x00"
        + b"{'descr': '<i8', 'fortran_order': False, 'shape': (9999999999999,), }".ljust(118),
        HEAD
        + b"\x76\x00"
        + b"{'descr': '<i8', 'fortran_order': False, 'shape': (-1,), }".ljust(118)
        + bytes(8),
        HEAD + b"\x76\x00" + b"__import__('os').abort()".ljust(118),
        HEAD + b"\xff\xff",
        b"",
    ],
)
def test_an_array_that_is_no_numbers_is_refused(made: Path, tmp_path: Path, array: bytes) -> None:
    content = members(made)
    told = json.loads(content["manifest.json"])
    address = hashlib.sha256(array).hexdigest()
    next(iter(told["arrays"].values()))["labels"]["sha256"] = address
    content |= {"manifest.json": json.dumps(told).encode(), f"arrays/{address}.npy": array}
    assert "predictions of cell" in refusal(zipped(tmp_path / "it.zip", content))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"minus": "labels", "dtype": "float64"}, "is to be float64"),
        ({"minus": "nothing", "dtype": "int64"}, "has no nothing of its shape"),
        ({"minus": "labels", "dtype": "int8"}, "has no labels of its shape"),
        ({"minus": "../x", "dtype": "int64"}, "minus"),
        ({"minus": None, "dtype": "object"}, "dtype"),
    ],
)
def test_arrays_that_cannot_be_restored_are_refused(
    made: Path, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    content = members(made)
    told = json.loads(content["manifest.json"])
    next(iter(told["arrays"].values()))["predictions"] |= change
    path = zipped(tmp_path / "it.zip", content | {"manifest.json": json.dumps(told).encode()})
    assert words in refusal(path)


# Fuzzed

WRONG: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 7, 1.5, 1e308, 10**30, "", "x", "../x", "\ud800", "0" * 64),
    *([], [1], {}, {"a": 1}, [[]], {"a": {"b": {}}}),
)


def _inner(part: Any) -> Any:
    for key in part if isinstance(part, dict) else range(len(part)):
        yield part, key
        if isinstance(part[key], dict | list):
            yield from _inner(part[key])


def _read_or_refused(path: Path) -> dict[str, Any] | None:
    """Return what is read, or None if that is refused in a line."""
    try:
        return read(path)
    except StoreError as error:
        words = str(error)
    assert "\n" not in words
    assert path.name in words
    return None


FUZZED = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@given(data=st.data())
@FUZZED
def test_changed_bytes_are_refused_or_change_nothing(
    made: Path, tmp_path: Path, data: st.DataObject
) -> None:
    content = bytearray(made.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        # Names, lengths and lists stand at the end.
        place = data.draw(st.integers(0, len(content) - 1) | st.integers(-400, -1))
        place %= len(content)
        content[place : place + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=6))
    (tmp_path / "it.zip").write_bytes(content)
    assert _read_or_refused(tmp_path / "it.zip") in (None, read(made))


@given(data=st.data())
@FUZZED
def test_changed_texts_with_right_hashes_are_read_or_refused(
    made: Path, tmp_path: Path, data: st.DataObject
) -> None:
    content = members(made)
    name = data.draw(
        st.sampled_from(["manifest.json", "code.json", "environment.json", "rows.jsonl"])
    )
    lines = [json.loads(line) for line in content[name].splitlines()]
    part, key = data.draw(st.sampled_from(list(_inner(lines))))
    if isinstance(part, list) or data.draw(st.booleans()):
        part[key] = data.draw(st.sampled_from(WRONG))
    else:
        part[data.draw(st.sampled_from(["x", "", "../x", "0" * 16]))] = part.pop(key)
    content[name] = b"\n".join(json.dumps(line).encode() for line in lines)
    with_hashes = content if name == "manifest.json" else sealed(content)
    found = _read_or_refused(zipped(tmp_path / "it.zip", with_hashes))
    for row, _, _ in (found or {}).values():
        assert Row.from_json(row.to_json()) == row
