"""Bodies of JSON with known members only, refused at little cost however many others they have."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic_core import PydanticCustomError

NAMED = 3
"""How many members that are not known are told by name."""


class Strict(BaseModel):
    """What a body is read as. Members that are not known are one fault, however many they are.

    Pydantic makes a fault of each: 100,000 of them, which fit into 1 MB, would take seconds, in which nobody else is
    answered, and 200 MB. For the same reason, a long list in such a body is declared `fail_fast`.
    """

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _only_known(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        known = {field.alias or name for name, field in cls.model_fields.items()}
        unknown = [name for name in given if name not in known]
        if not unknown:
            return given
        named = ", ".join(f"{name!r:.60}" for name in unknown[:NAMED])
        more = f" and {len(unknown) - NAMED} more" if len(unknown) > NAMED else ""
        raise PydanticCustomError(
            "unknown_members", "there are members that are not known here: {named}", {"named": f"{named}{more}"}
        )
