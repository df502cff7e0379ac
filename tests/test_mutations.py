"""The mutations fit the sources; that each is noticed is shown by `python -m tests.mutations`."""

from __future__ import annotations

import pytest

from tests.faults.explorer.put_back import FIELD
from tests.mutations.__main__ import ROOT
from tests.mutations.mutation import Mutation
from tests.mutations.table import MUTATIONS


@pytest.mark.parametrize("mutation", MUTATIONS, ids=[mutation.protection for mutation in MUTATIONS])
def test_the_protection_stands_once_in_its_file(mutation: Mutation) -> None:
    assert (ROOT / mutation.file).read_text().count(mutation.there) == 1


@pytest.mark.parametrize("mutation", MUTATIONS, ids=[mutation.protection for mutation in MUTATIONS])
def test_its_test_is_there(mutation: Mutation) -> None:
    file, _, name = mutation.test.partition("::")
    assert not name or f"def {name.partition('[')[0]}(" in (ROOT / file).read_text()


def test_each_protection_is_named_once() -> None:
    names = [mutation.protection for mutation in MUTATIONS]
    assert sorted(set(names)) == sorted(names)


def test_what_is_put_back_for_the_explorer_is_among_them() -> None:
    assert set(FIELD.values()) <= {mutation.protection for mutation in MUTATIONS}
