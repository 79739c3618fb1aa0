"""The documents: links that lead somewhere, blocks that are all run or checked."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOP = [ROOT / name for name in ("README.md", "CHANGELOG.md", "SECURITY.md")]
PAGES = sorted((ROOT / "docs").glob("*.md"))
DOCUMENTS = TOP + PAGES
#: Languages of blocks. The first two are run or checked; the others run nothing.
LANGUAGES = {
    "python",
    "console",
    "text",
    "{image}",
    "{toctree}",
    "{include}",
    "{literalinclude}",
}

_FENCED = re.compile(r"^```.*?^```$", re.M | re.S)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.M)
#: Written when the documentation is built.
_GENERATED = re.compile(r"docs/reference/((?:spec|fsm|io)(?:\.\w+)*|index|\w+)\.(md|inc)")


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def anchors(text: str) -> set[str]:
    headings = _HEADING.findall(_FENCED.sub("", text))
    return {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}


def exists(target: Path) -> bool:
    relative = name(target)
    generated = _GENERATED.fullmatch(relative)
    if generated is None or generated[2] == "inc" or generated[1] == "index":
        return generated is not None or target.exists()
    module = ROOT / generated[1].replace(".", "/")
    return module.with_suffix(".py").exists() or (module / "__init__.py").exists()


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_links_lead_somewhere(path: Path) -> None:
    text = path.read_text("utf-8")
    for link in _LINK.findall(_FENCED.sub("", text)):
        if link.startswith("https://"):
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert exists(target), f"{link}: no such file"
        if anchor:
            assert anchor in anchors(target.read_text("utf-8")), (
                f"{link}: no such heading"
            )


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_every_block_names_a_language_that_is_checked(path: Path) -> None:
    opened = False
    for line in path.read_text("utf-8").splitlines():
        if line.startswith("```"):
            opened = not opened
            language = line[3:].split(" ")[0]
            assert language in (LANGUAGES if opened else {""}), line
    assert not opened


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text("utf-8")
    for page in PAGES:
        if page.stem != "index":
            assert f"\n{page.stem}\n" in index
            assert f"({page.name})" in index


def test_the_changelog_has_its_sections() -> None:
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert "## [Unreleased]" in text
    allowed = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.+)$", text, re.M)) <= allowed


#: A test that a document names: file and name.
_NAMED_TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def test_what_was_asked_for_is_shown_by_tests_that_exist() -> None:
    text = (ROOT / "docs/node.md").read_text("utf-8")
    _, _, table = text.partition("| what it says | shown by |\n| --- | --- |\n")
    rows = [line for line in table.splitlines() if line.startswith("|")]
    assert len(rows) > 40
    for row in rows:
        named = _NAMED_TEST.findall(row)
        # Nothing else stands there: no file without a test, no pattern of names.
        assert row.count("`") == 2 * len(named) > 0, row
        for file, test in named:
            source = (ROOT / file).read_text("utf-8")
            defined = re.search(rf"^(async )?def {test}\(|^{test} = ", source, re.M)
            assert defined, f"{file} has no {test}"
