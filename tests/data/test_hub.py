"""Networks from the hub: what is taken, what is refused, and what is told where there is no way."""

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from harness.contracts.errors import DataError, SpecError
from harness.data import hub
from tests.data.publishing import silent

TEXTS, WEIGHTS = ("config.json", "vocab.txt", "tokenizer.json"), "model.safetensors"
MAIN = "some-one/bert.base/resolve/main"


class Handler(SimpleHTTPRequestHandler):
    asked: list[str]
    missing: int  # bytes that are promised and do not come

    def do_GET(self) -> None:
        self.asked.append(self.path.rsplit("/", 1)[-1])
        super().do_GET()

    def send_header(self, keyword: str, value: str) -> None:
        more = self.missing if keyword == "Content-Length" else 0
        super().send_header(keyword, str(int(value) + more) if more else value)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the folder that a hub on this machine sends files from."""
    (tmp_path / "hub" / MAIN).mkdir(parents=True)
    Handler.asked, Handler.missing = [], 0
    handler = partial(Handler, directory=str(tmp_path / "hub"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setattr(hub, "HUB", f"http://127.0.0.1:{server.server_port}")
    yield tmp_path / "hub" / MAIN
    server.shutdown()
    server.server_close()
    thread.join()


def taken(aside: Path, look: Any = lambda _folder: None) -> dict[str, bytes]:
    """Return what comes of some-one/bert.base."""
    with hub.folder_of(
        "some-one/bert.base",
        aside=aside,
        texts=TEXTS,
        weights=WEIGHTS,
        look=look,
        progress=silent,
    ) as folder:
        return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_the_hub_has_comes_and_is_deleted_in_the_end(published: Path, tmp_path: Path) -> None:
    files = {"config.json": b"{}", "vocab.txt": b"a\n", WEIGHTS: bytes(200_000)}
    for name, content in files.items():
        (published / name).write_bytes(content)
    assert taken(tmp_path / "aside") == files
    assert list((tmp_path / "aside").iterdir()) == []


def test_weights_are_not_asked_for_where_the_rest_is_refused(
    published: Path, tmp_path: Path
) -> None:
    for name in ("config.json", WEIGHTS):
        (published / name).write_bytes(b"{}")

    def look(folder: Path) -> None:
        assert (folder / "config.json").read_bytes() == b"{}"
        raise SpecError("other tokens")

    with pytest.raises(SpecError, match="other tokens"):
        taken(tmp_path / "aside", look)
    assert Handler.asked == [*TEXTS]
    assert list((tmp_path / "aside").iterdir()) == []


@pytest.mark.parametrize("there", [(), ("config.json",), (WEIGHTS,)])
def test_what_is_not_there_is_named_with_the_way_by_hand(
    published: Path, tmp_path: Path, there: tuple[str, ...]
) -> None:
    for name in there:
        (published / name).write_bytes(b"{}")
    absent = WEIGHTS if "config.json" in there else "config.json"
    with pytest.raises(DataError) as raised:
        taken(tmp_path / "aside")
    words = str(raised.value)
    assert words.startswith(f"{hub.HUB}/{MAIN}/{absent} cannot be fetched; ")
    assert f"'{hub.HUB}/{MAIN}/{{config.json,vocab.txt,{WEIGHTS}}}'" in words
    assert "teacher import FOLDER" in words
    assert "404" in words


def test_without_a_network_the_way_by_hand_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "HUB", "http://127.0.0.1:1")  # nobody listens there
    with pytest.raises(DataError, match="where there is a network: curl -fL"):
        taken(tmp_path / "aside")


def test_half_a_file_is_none(published: Path, tmp_path: Path) -> None:
    (published / "config.json").write_bytes(b"{}")
    Handler.missing = 1
    with pytest.raises(DataError, match=r"config\.json cannot be fetched"):
        taken(tmp_path / "aside")


def test_no_length_is_believed(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (published / "config.json").write_bytes(bytes(11))
    monkeypatch.setattr(hub, "_TEXT_BYTES", 10)
    with pytest.raises(DataError, match="more than 10 bytes"):
        taken(tmp_path / "aside")
    monkeypatch.setattr(hub, "_TEXT_BYTES", 11)
    monkeypatch.setattr(hub, "_WEIGHTS_BYTES", 10)
    (published / WEIGHTS).write_bytes(bytes(11))
    with pytest.raises(DataError, match=r"model\.safetensors has more than 10 bytes"):
        taken(tmp_path / "aside")


def test_a_place_that_cannot_be_written_is_named(published: Path, tmp_path: Path) -> None:
    (published / "config.json").write_bytes(b"{}")
    (tmp_path / "aside").write_bytes(b"a file")
    with pytest.raises(DataError, match="aside cannot be written"):
        taken(tmp_path / "aside")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("google-bert/bert-base-cased", True),
        ("Some.one/all_MiniLM-v2.1", True),
        ("bert-base-cased", False),
        ("checkpoints/resnet20.th", False),
        ("here/any", False),
        ("../up", False),
        ("a/b/c", False),
        ("/a/b", False),
        ("a/b?c", False),
    ],
)
def test_a_name_on_the_hub_is_no_path_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, *, expected: bool
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path)
    assert hub.is_name(Path(path)) is expected
