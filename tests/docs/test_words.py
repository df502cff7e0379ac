"""Spelling by codespell, and the words that the project does not use in what users read."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.documents import PAGES, ROOT

OURS = "ro,te"
"""What codespell takes for misspelt and is not: nothing of the text, only parts of names."""
CHECKED = [*PAGES, "CONTRIBUTING.md", "SECURITY.md", "deploy/kubernetes/README.md"]
RIDDLES = {
    r"\b(?:tells?|told)\b": "say: says, names, reports, logs",
    r"\bhonest(?:ly)?\b": "say what is measured",
    r"\bhit(?:s|ting)?\b": "say: reached, failed, occurred",
    r"\bput down\b": "say: write, record, publish",
    r"\bspeaks? of\b": "say: is about, names",
    r"\bwithout a word\b": "say: silently",
    r"\bmet with\b": "say: found",
    r"\bin (?:its |their |his |a \S+ )?hands?\b": "say: in flight",
    r"\ball is well\b": "say what is so",
    r"\bon record\b": "say: recorded",
    r"\.\.\.": "no ellipsis: say it, or end the sentence",
}
"""What DESIGN.md, section 3, does without: by pattern, what to say instead."""


def prose(text: str) -> str:
    """Without code."""
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))


def test_spelling() -> None:
    command = [sys.executable, "-m", "codespell_lib", "--ignore-words-list", OURS, *CHECKED]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.parametrize("page", CHECKED)
def test_plain_words(page: str) -> None:
    found = [
        f"{page}:{number}: {match[0]!r}: {instead}"
        for number, line in enumerate(prose((ROOT / page).read_text()).splitlines(), 1)
        for pattern, instead in RIDDLES.items()
        if (match := re.search(pattern, line, re.IGNORECASE))
    ]
    assert found == []


def test_a_page_begins_with_its_question_and_what_to_type() -> None:
    for page, text in PAGES.items():
        if page in ("README.md", "docs/README.md"):
            continue
        title, _, rest = text.partition("\n")
        assert re.fullmatch(r"# .*\?", title), page
        assert re.search(r"^```", "\n".join(rest.splitlines()[:12]), re.MULTILINE), f"{page}: what to type comes first"
