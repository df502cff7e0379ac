"""What others wrote is shown without acting on anything, and can be stored and sent anywhere."""

from __future__ import annotations

import json

import pytest
from bson import decode, encode
from hypothesis import given
from hypothesis import strategies as st

from outbox.printable import printable
from tests.strategies import examples

ANY_TEXT = st.text(st.characters(exclude_categories=())) | st.binary().map(
    lambda raw: raw.decode(errors="surrogateescape")
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("naïve 文件\u3000🗂️ 👩\u200d🚒.pdf", "naïve 文件\u3000🗂️ 👩\u200d🚒.pdf"),
        ("caf\udce9", r"caf\xe9"),
        ("\ud800", r"\ud800"),
        ("a\x1b[2J\x00\x7f\x9b", r"a\x1b[2J\x00\x7f\x9b"),
        ("two\nlines\r\t", r"two\nlines\r\t"),
        ("fdp.\u202eexe\u2028", r"fdp.\u202eexe\u2028"),
        ("\\xff", "\\xff"),
    ],
)
def test_what_cannot_be_shown_is_escaped_and_nothing_else_is_changed(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_lines_stay_where_they_are_wanted() -> None:
    assert printable("a\n\tb\r\x1b\udcff", keep_lines=True) == "a\n\tb\\r\\x1b\\xff"


@given(ANY_TEXT)
@examples(100)
def test_whatever_it_was_it_goes_into_every_store_and_stays_as_it_is(text: str) -> None:
    shown = printable(text)
    assert shown.encode().decode() == shown
    assert decode(encode({"text": shown}))["text"] == shown
    assert json.loads(json.dumps(shown, ensure_ascii=False).encode()) == shown
    assert shown.splitlines() in ([], [shown])
    assert printable(shown) == shown
