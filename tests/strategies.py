"""Text from outside by generator: whatever somebody types, sends, names or stores, for hypothesis."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

TIMES = int(os.environ.get("ADVERSE_TIMES", 0))
"""Not 0: so many times as many examples, and others each time. `ADVERSE_TIMES=20 pytest -k any_` looks for new ones."""


def examples(count: int) -> settings:
    """A fixture is the same for all examples of a test: they come one after the other, as in life."""
    return settings(
        max_examples=count * max(1, TIMES), derandomize=not TIMES, database=None, deadline=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip


TROUBLE = (
    "", " ", "\t", "\n", "\r\n", "\x1b[2J", "\x1b]0;owned\x07", "\x7f", "\u202e", "\u2028", "\ufeff", "\ufffe",
    "\U0010ffff", "é", "Ã©", "\ud800", "\udcff", "\udcc3(", "ﬁ", "²", "٣", "１", "ǅ", "ß", "İ", "a" * 5000,
    "9" * 400, "-1", "0", "1e400", "nan", "inf", "1_0", "+1", "0x10", "true", "null", "None", "[]", "{}", "[[",
    "{\"a\": ", "\"", "'", "`", "\\", "/", "//", "..", "../..", "%", "%s", "%(a)s", "{0}", "${HOME}", "$where",
    "$ne", "a.b", ".", "*", "?", "<script>alert(1)</script>", "' OR 1=1", ";", "|", "--", "-", "--help", "=", "&",
    "#", "@", ":", "::", "[::1", "://", "mongodb://", "redis://[", "9999-12-31T23:59:59+14:00",
    "0001-01-01T00:00:00+14:00", "10000-01-01", "2026-02-30", "99999999999d", "507f1f77bcf86cd799439011",
    "507f1f77bcf86cd79943901g",
)  # fmt: skip
"""What has been trouble somewhere, as a whole or as a part of something right."""

_CHARACTERS = st.characters(codec=None)


def texts(*right: str, without: str = "") -> st.SearchStrategy[str]:
    """Any text; also parts of trouble, and what is `right` with a few characters of it changed.

    :param without: characters that cannot come this way.
    """
    trouble = st.sampled_from(TROUBLE)
    forms = [trouble, st.text(_CHARACTERS, max_size=40), st.lists(trouble, max_size=4).map("".join)]
    if right:
        forms += [edited(right), st.sampled_from(right)]
    return st.one_of(forms).map(lambda text: text.translate(dict.fromkeys(map(ord, without))))


def words(*right: str) -> st.SearchStrategy[str]:
    """Texts as a program gets them in its arguments and its environment: no NUL, and bytes for what is not UTF-8."""
    return texts(*right, without="\0").map(
        lambda text: text.encode(errors="surrogatepass").decode(errors="surrogateescape")
    )


@st.composite
def edited(draw: st.DrawFn, right: Sequence[str]) -> str:
    """Something right, in which up to three places are taken out, doubled, or replaced by trouble."""
    text = draw(st.sampled_from(right))
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 3)))
        text = text[:start] + draw(st.sampled_from(["", text[start:end] * 2, *TROUBLE])) + text[end:]
    return text


_SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), texts(), st.integers(2**53, 2**200))
_SHALLOW = _SCALARS | st.lists(_SCALARS, max_size=3) | st.dictionaries(texts(), _SCALARS, max_size=3)
ANYTHING = _SHALLOW | st.lists(_SHALLOW, max_size=3) | st.dictionaries(texts(), _SHALLOW, max_size=3)


def jsons(*right: Any) -> st.SearchStrategy[Any]:
    """Any JSON; also what is `right` with values, at any depth, replaced by others."""
    return st.one_of(ANYTHING, *(_altered(one, ANYTHING) for one in right))


def _altered(value: Any, anything: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    if isinstance(value, dict):
        parts = {name: st.one_of(st.just(inner), _altered(inner, anything)) for name, inner in value.items()}
        return st.one_of(st.fixed_dictionaries(parts), st.fixed_dictionaries({}, optional=parts), anything)
    if isinstance(value, list) and value:
        return st.lists(st.sampled_from(value).flatmap(lambda one: _altered(one, anything)), max_size=3) | anything
    return st.one_of(st.just(value), texts(value) if isinstance(value, str) else anything)
