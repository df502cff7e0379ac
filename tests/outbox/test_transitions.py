"""The states of a message are changed in one module, see outbox/message/transitions.py."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from outbox.message import transitions
from tests.sources import modules

ROOM = Path(transitions.__file__)
BENCH = ROOM.parents[1] / "bench"
"""Measures what the servers do by themselves, with bare statements on databases of its own."""

CHANGES = {"$set", "$setOnInsert", "$addFields", "$replaceWith", "$replaceRoot", "$unset", "$rename"}
DELETIONS = {"delete_one", "delete_many", "find_one_and_delete"}


def writes_of_state(tree: ast.AST) -> list[int]:
    """The lines with an update that sets `state`, in a literal or by way of a name that holds one."""
    with_state: set[str] = set()
    while True:
        found = with_state | {name for name, value in _named(tree) if _has_state(value, with_state)}
        if found == with_state:
            break
        with_state = found
    return [
        key.lineno
        for node in ast.walk(tree) if isinstance(node, ast.Dict)
        for key, value in zip(node.keys, node.values, strict=True)
        if isinstance(key, ast.Constant) and key.value in CHANGES and _has_state(value, with_state)
    ]  # fmt: skip


def _named(tree: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    for node in ast.walk(tree):
        match node:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
            ):
                yield name, value
            case ast.Assign(targets=[ast.Subscript(value=ast.Name(id=name), slice=ast.Constant(value="state"))]):
                yield name, ast.Dict([ast.Constant("state")], [ast.Constant(None)])
            case ast.FunctionDef(name=name):
                yield from (
                    (name, line.value) for line in ast.walk(node) if isinstance(line, ast.Return) and line.value
                )


def _has_state(value: ast.AST, with_state: set[str]) -> bool:
    for node in ast.walk(value):
        if isinstance(node, ast.Name) and node.id in with_state:
            return True
        if isinstance(node, ast.Dict) and any(isinstance(k, ast.Constant) and k.value == "state" for k in node.keys):
            return True
    return False


def deletions_of_messages(tree: ast.AST) -> list[int]:
    """The lines that delete from the outbox by a filter that is not a transition's."""
    messages = {"OUTBOX"}
    messages |= {name for name, value in _named(tree) if _names(value) & messages}
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in DELETIONS
        and _names(node.func.value) & messages and not ast.unparse(node.args[0]).startswith("transitions.")
    ]  # fmt: skip


def _names(expression: ast.AST) -> set[str]:
    found = ast.walk(expression)
    return {n.id if isinstance(n, ast.Name) else n.attr for n in found if isinstance(n, ast.Name | ast.Attribute)}


def test_no_other_module_writes_the_state_of_a_message() -> None:
    written = {
        str(path): lines
        for path, tree in modules() if path != ROOM and BENCH not in path.parents
        if (lines := writes_of_state(tree))
    }  # fmt: skip
    assert written == {}, "make it a function in transitions.py"


def test_no_other_module_deletes_messages_by_a_filter_of_its_own() -> None:
    deleted = {
        str(path): lines
        for path, tree in modules() if path != ROOM and BENCH not in path.parents
        if (lines := deletions_of_messages(tree))
    }  # fmt: skip
    assert deleted == {}, "make its filter a function in transitions.py"


@pytest.mark.parametrize(
    "written",
    [
        'update({"$set": {"state": "dead"}})',
        'values = {"state": "dead"}\nupdate([{"$set": {**values, "x": 1}}])',
        'values = {}\nvalues["state"] = "dead"\nupdate([{"$set": values}])',
        'def dead():\n    return {"state": "dead"}\nupdate({"$set": dead()})',
        'update([{"$replaceWith": {"state": "dead"}}])',
    ],
)
def test_a_write_of_the_state_is_found(written: str) -> None:
    assert writes_of_state(ast.parse(written))
    assert not writes_of_state(ast.parse('find({"state": "dead"})\nupdate({"state": "dead"}, {"$set": {"x": 1}})'))


def test_a_deletion_is_found() -> None:
    assert deletions_of_messages(ast.parse('messages = database[OUTBOX]\nmessages.delete_one({"_id": 1})'))
    assert deletions_of_messages(ast.parse('database[OUTBOX].delete_many({"_id": 1})'))
    assert not deletions_of_messages(ast.parse("database[OUTBOX].delete_many(transitions.prune([1]))"))
