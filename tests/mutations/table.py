"""All mutations: each protection, and the test that must notice when it is not there. A module for each area."""

from __future__ import annotations

import importlib
import pkgutil

from tests import mutations
from tests.mutations.mutation import Mutation

_NOT_AREAS = {"__main__", "mutation", "table"}

MUTATIONS: list[Mutation] = [
    mutation
    for module in pkgutil.iter_modules(mutations.__path__)
    if module.name not in _NOT_AREAS
    for mutation in importlib.import_module(f"{mutations.__name__}.{module.name}").MUTATIONS
]
