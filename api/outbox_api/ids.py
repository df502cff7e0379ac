"""Ids of files and messages, as they stand in paths and bodies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from bson import ObjectId
from pydantic import Field
from starlette.convertors import Convertor, register_url_convertor

Id = Annotated[str, Field(pattern="^[0-9a-fA-F]{24}$", examples=["66f0c2a51f2b9c0d8e4a7b31"])]
"""24 hexadecimal digits."""


class _IdConvertor(Convertor[str]):
    """Makes `{file_id:id}` match ids only, so that `/files/reparse` is not taken for a file."""

    regex = "[0-9a-fA-F]{24}"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("id", _IdConvertor())


def read_ids(ids: Sequence[str]) -> list[ObjectId]:
    """Ids in their order, each once."""
    return list(dict.fromkeys(ObjectId(text) for text in ids))
