"""The table of all settings, made from the model itself."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from pipeline_lib.settings.base import is_execution
from pipeline_lib.settings.load import bare, is_union
from pipeline_lib.settings.project import Project
from pipeline_lib.settings.sweep import Range, SweepSettings

_HEAD = """# All settings

Made by `python -m pipeline_lib config reference`; do not edit. *run* marks settings that say how results are computed, not
what: they enter no identity, and a change re-runs nothing.
"""


def settings_reference() -> str:
    """Markdown: one table per group of settings, and per alternative where a group has several."""
    sections = [_HEAD]
    sections += [f"## {title}\n\n{text}\n\n{_table(model)}" for title, text, model in _groups()]
    return "\n".join(sections)


def _groups() -> Iterator[tuple[str, str, type[BaseModel]]]:
    yield "Top level", _text(Project), Project
    for name, field in Project.model_fields.items():
        for model in _models(field.annotation):
            tag = _tag(model)
            key = f"{name}.<name>" if name == "volumes" else name
            yield f"`{key}`{tag}", _text(model), model
            for below, inner in model.model_fields.items():
                for nested in _models(inner.annotation):
                    yield f"`{key}.{below}`{tag}", _text(nested), nested
    yield "`sweep`", _text(SweepSettings), SweepSettings
    for name, field in SweepSettings.model_fields.items():
        for model in _models(field.annotation):
            yield f"`sweep.{name}`", _text(model), model
    yield "`sweep.random.settings.<path>`", _text(Range), Range


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The settings classes that an annotation can hold."""
    annotation = bare(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    inner = get_args(annotation) if is_union(annotation) or annotation is not None else ()
    return [model for argument in inner for model in _models(argument)]


def _tag(model: type[BaseModel]) -> str:
    for name in ("kind", "name", "method"):
        field = model.model_fields.get(name)
        if field is not None and isinstance(field.default, str):
            return f", {name}: {field.default}"
    return ""


def _text(model: type[BaseModel]) -> str:
    return inspect.cleandoc(model.__doc__ or "").split("\n\n")[0].replace("\n", " ")


def _table(model: type[BaseModel]) -> str:
    rows = ["| key | type | default | meaning |", "| --- | --- | --- | --- |"]
    properties = model.model_json_schema()["properties"]
    for name, field in model.model_fields.items():
        kind = _type_name(field.annotation)
        limits = _limits(properties[name])
        default = "required" if field.is_required() else _default(field.get_default(call_default_factory=True))
        run = "*run* " if is_execution(field) else ""
        rows.append(f"| `{name}` | {kind}{limits} | {default} | {run}{field.description or ''} |")
    return "\n".join(rows) + "\n"


def _type_name(annotation: Any) -> str:  # noqa: PLR0911  one line per kind of type
    annotation = bare(annotation)
    if annotation is type(None):
        return "null"
    if is_union(annotation):
        return " or ".join(dict.fromkeys(_type_name(a) for a in get_args(annotation)))
    arguments = get_args(annotation)
    if not isinstance(annotation, type) and all(isinstance(a, str) for a in arguments) and arguments:
        return " or ".join(f"`{a}`" for a in arguments)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "group"
    origin = getattr(annotation, "__origin__", annotation)
    if origin is tuple and Ellipsis not in arguments:
        return f"list of {len(arguments)} {_type_name(arguments[0])}"
    if origin in (tuple, list):
        return f"list of {_type_name(arguments[0])}"
    if origin is dict:
        return "mapping of names"
    return {"str": "text", "int": "integer", "float": "number", "bool": "true or false"}.get(
        annotation.__name__, annotation.__name__
    )


def _limits(schema: dict[str, Any]) -> str:
    signs = {"exclusiveMinimum": ">", "minimum": ">=", "exclusiveMaximum": "<", "maximum": "<="}
    limits = [f"{sign} {schema[key]:g}" for key, sign in signs.items() if key in schema]
    return f", {', '.join(limits)}" if limits else ""


def _default(value: Any) -> str:
    if value is PydanticUndefined or isinstance(value, BaseModel):
        return ""
    return f"`{json.dumps(value)}`"
