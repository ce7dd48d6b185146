"""The folder for static hosting: an index, boards as they are, documents as pages."""

from pathlib import Path

import pytest

from harness.report import site


@pytest.fixture
def built(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    files = {
        "README.md": "# Home & more\n\n[methods](docs/methods.md#a_b) <script>no</script>\n",
        "docs/methods.md": "# Methods\n\n[`a_b`](#a_b)\n\n## a_b\n\n| x |\n| --- |\n| 1 |\n",
        "results/digits/leaderboard.md": "# Leaderboard: digits\n",
        "results/digits/leaderboard.html": "<p>the page</p>",
        "results/digits/leaderboard.csv": "a,b\n",
        "results/old/leaderboard.md": "# Leaderboard: old\n",
        "results/old/direct.jsonl": "{}\n",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    written = site.build(root, tmp_path / "site")
    assert all(path.is_file() for path in written)
    return tmp_path / "site"


def test_boards_are_copied_and_those_without_a_page_get_one(built: Path) -> None:
    assert (built / "results/digits/leaderboard.html").read_text() == "<p>the page</p>"
    assert (built / "results/digits/leaderboard.csv").read_text() == "a,b\n"
    assert "<h1" in (built / "results/old/leaderboard.html").read_text()
    assert not (built / "results/old/direct.jsonl").exists()


def test_the_index_leads_to_every_board_and_document(built: Path) -> None:
    text = (built / "index.html").read_text()
    assert "Handwritten digits" in text  # the suite's title
    for target in ("results/digits/leaderboard.html", "results/digits/leaderboard.csv"):
        assert f'href="{target}"' in text
    assert 'href="README.html">Home &amp; more<' in text
    assert 'href="docs/methods.html">Methods<' in text


def test_links_between_documents_still_lead_there(built: Path) -> None:
    home, methods = (built / "README.html").read_text(), (built / "docs/methods.html").read_text()
    assert 'href="docs/methods.html#a_b"' in home
    assert 'href="#a_b"' in methods
    assert '<h2 id="a_b">' in methods
    assert "<td>1</td>" in methods
    assert 'href="../index.html"' in methods
    assert 'href="index.html"' in home
    assert "<script" not in home
