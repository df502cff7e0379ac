"""docs/several-outboxes.md lists the collections that `outbox init` creates."""

from __future__ import annotations

import re

from outbox.message import schema
from outbox_api.collections import FILES_APPLICATION
from tests.documents import section, tables


def test_every_collection_is_listed() -> None:
    core, files = tables(section("A shared database", "docs/several-outboxes.md"))
    for table, part in ((core, schema.CORE), (files, FILES_APPLICATION)):
        listed = [name for names, *_ in table for name in re.findall(r"`([^`]+)`", names)]
        assert sorted(listed) == sorted(collection.name for collection in part.collections)
