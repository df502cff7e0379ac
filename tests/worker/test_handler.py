from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest

from outbox.errors import UsageError
from outbox.message.poison import MAX_REASON
from outbox.worker.failures import headline, summary
from outbox.worker.handler import Handler
from outbox.worker.handlers import load


async def with_session(message: Any, session: Any) -> None: ...
async def alone(message: Any) -> None: ...
def plain(message: Any, session: Any) -> None: ...
def with_default(message: Any, session: Any, more: int = 1) -> None: ...


class Callee:
    async def __call__(self, message: Any, session: Any) -> None: ...


@pytest.mark.parametrize(
    ("function", "is_plain", "has_session"),
    [
        (with_session, False, True),
        (alone, False, False),
        (plain, True, True),
        (with_default, True, True),
        (Callee(), False, True),
        (functools.partial(plain, session=None), True, False),
    ],
    ids=["session", "alone", "plain", "default", "object", "partial"],
)
def test_its_form_tells_how_it_is_called(function: Any, is_plain: bool, has_session: bool) -> None:
    handler = Handler.of(function)
    assert (handler.plain, handler.with_session) == (is_plain, has_session)


def test_it_is_found_in_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "found_here.py").write_text("class Tasks:\n    @staticmethod\n    def handle(message): ...\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", ["/nowhere"])
    [handler] = load("found_here:Tasks.handle")
    assert handler.plain


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("handle", "write MODULE:FUNCTION"),
        ("no_such.module:handle", "there is no module 'no_such'"),
        ("json:nothing", "has no 'nothing'"),
        ("json:decoder", "is not a function"),
    ],
)
def test_what_is_wrong_with_a_name_is_told(name: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        load(name)


def test_an_import_that_fails_inside_of_the_module_is_not_taken_for_a_missing_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "needs_more.py").write_text("import surely_not_there\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="surely_not_there"):
        load("needs_more:handle")


def test_an_error_is_told_in_one_line_and_with_where_it_was_raised() -> None:
    def deep(text: str) -> None:
        raise ValueError(text)

    with pytest.raises(ValueError, match="first") as raised:
        deep("first\n  second")
    assert headline(raised.value) == "first second"
    told = summary(raised.value)
    assert told.startswith("ValueError: first second\n")
    assert "in deep" in told
    with pytest.raises(ValueError, match="x") as raised:
        deep("x" * 10_000)
    assert len(summary(raised.value)) <= MAX_REASON
    assert headline(KeyError()) == "KeyError"
