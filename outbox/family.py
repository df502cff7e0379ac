"""How a class of settings is filled from the environment, and what is said when it cannot be."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar, get_args

from pydantic import SecretStr, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from outbox import environment
from outbox.environment import Refused, Setting
from outbox.errors import SettingsError

S = TypeVar("S", bound="Family")
V = TypeVar("V")

_SHOWN = 80
_MOST = 1e9
_PLAINLY = {"missing": "is missing", "extra_forbidden": "is not known; look at its spelling"}
"""What pydantic says by the type of a fault, in words for people who do not know it."""


def countable(value: V) -> V:
    """`value`, unless it is a number of seconds, hours or days that no clock can count. Raises ValueError."""
    if isinstance(value, float) and not value <= _MOST:
        raise ValueError(f"is more than {_MOST:g}")
    return value


class Family(BaseSettings):
    """Settings of one program, or of all. A variable that is nearly one of them is refused, and not ignored.

    A misspelt name that is silently ignored is the commonest way to run with settings one did not choose.
    """

    model_config = SettingsConfigDict(frozen=True, extra="ignore", validate_default=False, hide_input_in_errors=True)
    prefix: ClassVar[str]
    """What the variables of its own begin with."""

    old_names: ClassVar[bool] = False
    """Whether variables without OUTBOX_ at their beginning, as they were called before, are read as well."""

    without_old_name: ClassVar[frozenset[str]] = frozenset()
    """Fields that are newer than that."""

    _countable = field_validator("*")(countable)

    @classmethod
    def variables(cls) -> dict[str, Setting]:
        """How the environment calls each field."""
        return {name: _setting(cls, name, field) for name, field in cls.model_fields.items()}

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, *_: Any, **__: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, _Variables(cls)


def _setting(family: type[Family], name: str, field: FieldInfo) -> Setting:
    variable = name.upper()
    if variable.startswith((environment.OURS, "MONGODB_", "REDIS_")):
        return Setting(variable, secret=_is_secret(field))
    old = variable if family.old_names and name not in family.without_old_name else None
    listens = str(field.get_default()) if name.endswith("_listen") else None
    return Setting(environment.OURS + variable, old, _is_secret(field), listens)


def _is_secret(field: FieldInfo) -> bool:
    return SecretStr in (field.annotation, *get_args(field.annotation))


class _Variables(PydanticBaseSettingsSource):
    """Fields from the environment and `.env`."""

    def __init__(self, family: type[Family]) -> None:
        super().__init__(family)
        self._settings = family.variables()
        self._variables = environment.read()

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        value = environment.given(self._settings[field_name], self._variables)
        return value, field_name, self.field_is_complex(field)

    def __call__(self) -> dict[str, Any]:
        values = {}
        for name, field in self.settings_cls.model_fields.items():
            value, key, is_json = self.get_field_value(field, name)
            if value is not None:
                values[key] = _decoded(value) if is_json and isinstance(value, str) else value
        return values


def _decoded(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        return Refused(f"is not JSON: {error}")


def load(settings: type[S], **overrides: Any) -> S:
    """Read `settings` from the environment and `.env`; `overrides` go over both.

    Raises SettingsError, which names every wrong value with a right one beside it, and every variable that is nearly
    called like a setting.
    """
    names = settings.variables()
    variables = environment.read()
    faults = list(environment.misspelt(names.values(), settings.prefix, variables))
    try:
        loaded = settings(**overrides)
    except ValidationError as error:
        faults += [_explained(fault, settings, variables, overrides) for fault in error.errors()]
    if faults:
        raise SettingsError("; ".join(faults))
    return loaded


def _explained(
    fault: Any, settings: type[Family], variables: Mapping[str, str], overrides: Mapping[str, object]
) -> str:
    why = _PLAINLY.get(fault["type"]) or fault["msg"].removeprefix("Value error, ")
    if not fault["loc"]:
        return str(why)
    field, *inner = fault["loc"]
    setting, value = settings.variables()[field], fault["input"]
    name = setting.name if field in overrides else environment.named(setting, variables)
    where = name + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in inner)
    if setting.secret and isinstance(value, Refused):
        return f"{where}: {value.why}"
    if isinstance(value, Refused):
        why, was = value.why, _shown(variables[name])
    else:
        was = "" if setting.secret or fault["type"] == "missing" else _shown(value)
    return f"{where}: {why}{was}. For example {setting.name}={_example(settings.model_fields[field])}"


def _shown(value: object) -> str:
    """What was there, unless it may be an address with a password."""
    text = str(value)
    if "@" in text or "://" in text:
        return ""
    return f"; it is {text!r}" if len(text) <= _SHOWN else f"; it begins with {text[:_SHOWN]!r}"


def _example(field: FieldInfo) -> str:
    example = field.examples[0] if field.examples else field.get_default()
    return f"{example:g}" if isinstance(example, float) else str(example)
