"""The documents name tests, files and decisions that exist: a claim whose test is gone is none."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def known_tests() -> set[str]:
    files = (ROOT / "tests").rglob("test_*.py")
    return {
        name for file in files for name in re.findall(r"^(?:async )?def (test_\w+)", file.read_text(), re.MULTILINE)
    }


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_test_that_is_named_exists(document: Path) -> None:
    files = {file.stem for file in (ROOT / "tests").rglob("test_*.py")}
    named = set(re.findall(r"\btest_[a-z0-9_]+", document.read_text()))
    assert not named - known_tests() - files


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_file_that_is_linked_exists(document: Path) -> None:
    linked = re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text())
    assert not [one for one in linked if not (document.parent / one).exists()]


def test_claims_name_tests() -> None:
    assert len(set(re.findall(r"\btest_\w+", (ROOT / "docs/claims.md").read_text()))) > 40
