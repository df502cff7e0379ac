"""Records of surfaces, and what is said when one has changed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
WRITE = "CONTRACTS_WRITE"

ADDED = """\
Added only: nobody's program breaks. Record it by `python -m tests.contracts`, and name it in CHANGELOG.md."""
BROKEN = """\
Taken away or changed: programs that rely on it break. Keep what was there beside what is new: that is an addition.

If that cannot be, it is a new major version: say in CHANGELOG.md under "Changed" what breaks and what to do, and
- collections, indexes, documents: raise `meta.VERSION`, put what was there into `earlier` of its `Collection`, and let
  `ensure` bring older databases up to it, while programs of both versions run (outbox/README.md, What may be touched);
- keys and fields in Redis: the scripts must understand those of the version before;
- settings: read the old name as well, as `Family.old_names` does;
- commands, JSON, HTTP, metrics, stream entries: go on to write and to accept the old name until the version after.
Then record it by `python -m tests.contracts`."""


def hold(name: str, now: Any) -> None:
    """Fail, with what is different and what to do about it, unless `now` is what `name`.json says."""
    file = FOLDER / f"{name}.json"
    now = json.loads(json.dumps(now, sort_keys=True, default=str))
    if os.environ.get(WRITE):
        file.write_text(json.dumps(now, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
        return
    recorded = json.loads(file.read_text())
    assert recorded == now, explain(name, recorded, now)


def explain(name: str, recorded: Any, now: Any) -> str:
    before, after = dict(_flat(recorded)), dict(_flat(now))
    broken = [f"  - {path}: {before[path]}" for path in before if path not in after]
    broken += [
        f"  - {path}: {before[path]} is now {after[path]}"
        for path in before
        if before[path] != after.get(path, before[path])
    ]
    added = [f"  + {path}: {after[path]}" for path in after if path not in before]
    title = f"tests/contracts/{name}.json records what other programs rely on, and it has changed:"
    return "\n".join([title, *broken, *added, BROKEN if broken else ADDED])


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    match value:
        case dict() if value:
            for name, inner in value.items():
                yield from _flat(inner, f"{path} › {name}" if path else name)
        case list() if any(isinstance(one, dict | list) for one in value):
            for number, inner in enumerate(value):
                yield from _flat(inner, f"{path}[{number}]")
        case list():
            for inner in value:
                yield f"{path} › {json.dumps(inner)}", "there"
        case _:
            yield path, json.dumps(value)


def shape(value: Any) -> Any:
    """The names and types of JSON or of a document, without its values. Elements of a list are taken together."""
    if isinstance(value, Mapping):
        return {str(name): shape(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        shapes: list[Any] = []
        for inner in map(shape, value):
            if inner not in shapes:
                shapes.append(inner)
        return sorted(shapes, key=json.dumps)
    if value is None or isinstance(value, bool):
        return "null" if value is None else "boolean"
    if isinstance(value, int | float):
        return "number"
    return {"str": "string", "Int64": "number"}.get(type(value).__name__, type(value).__name__)
