"""From a YAML file to checked settings, with messages that say where, what was expected and the nearest valid name."""

from __future__ import annotations

import difflib
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from pipeline_lib.errors import UserError
from pipeline_lib.settings.project import Project


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML would take the last of two equal keys and lose the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


def load_content(path: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The mapping in a YAML file; `overrides` are `dotted.key=value` with the value in YAML. Mistakes are a UserError."""
    content = read_config(path)
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals:
            raise UserError(f"an override is written key=value, such as training.steps=100; got {override!r}")
        try:
            content[key] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise UserError(
                f"the value of the override {override!r} is not valid YAML: {' '.join(str(error).split())}"
            ) from error
    return with_dotted_keys(content, str(path))


def read_config(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file, in which no key may stand twice. Mistakes are a UserError."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot read the config {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not valid YAML: {error}") from error
    return read_text(text, where=str(path))


def read_text(text: str, *, where: str = "config") -> dict[str, Any]:
    """The mapping in a YAML text, of which JSON is a kind."""
    try:
        content = yaml.load(text, Loader=_UniqueKeyLoader)  # a SafeLoader
    except yaml.YAMLError as error:
        raise UserError(f"{where} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise UserError(f"{where}: expected a mapping of settings, got {type(content).__name__}")
    return content


def parse_project(content: dict[str, Any], *, where: str = "config") -> Project:
    """Settings from nested dictionaries; a dotted key (`training.steps`) overrides what it names."""
    return parse(Project, with_dotted_keys(content, where), where=where)


def parse(model: type[BaseModel], content: Any, *, where: str) -> Any:
    """`model` from `content`; mistakes are a one-line UserError."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        problems = [_describe(model, problem) for problem in error.errors(include_url=False)]
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise UserError(f"{where}: {problems[0]}{more}") from None


def with_dotted_keys(content: dict[str, Any], where: str) -> dict[str, Any]:
    """Nested dictionaries in which what a dotted key names is set; those given are left as they are."""
    nested = {key: value for key, value in content.items() if "." not in str(key)}
    for key, value in content.items():
        if "." not in str(key):
            continue
        *parents, last = str(key).split(".")
        place = nested
        for parent in parents:
            below = place.get(parent) or {}
            if not isinstance(below, dict):
                raise UserError(f"{where}: {key}: {parent} is not a group of settings")
            place[parent] = dict(below)
            place = place[parent]
        place[last] = value
    return nested


def _describe(model: type[BaseModel], problem: Any) -> str:  # noqa: PLR0911  one return per kind of mistake
    keys, fields = _walk(model, problem["loc"])
    place = ".".join(keys)
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(keys[-1], fields, n=1, cutoff=0.5)
        advice = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(fields)}"
        return f"{place}: unknown key; {advice}"
    if problem["type"] == "union_tag_not_found":
        return f"{place}.{problem['ctx']['discriminator'].strip(chr(39))}: is missing"
    if problem["type"] == "union_tag_invalid":
        tag, known = problem["ctx"]["tag"], problem["ctx"]["expected_tags"].replace("'", "").split(", ")
        near = difflib.get_close_matches(tag, known, n=1, cutoff=0.5)
        advice = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
        key = "kind" if keys[0] == "volumes" else "name"
        return f"{place}.{key}: unknown {tag!r}; {advice}"
    if keys and keys[-1] == "[key]":
        known = problem["ctx"]["expected"].replace(" or ", ", ").replace("'", "").split(", ")
        near = difflib.get_close_matches(keys[-2], known, n=1, cutoff=0.5)
        advice = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
        return f"{'.'.join(keys[:-1])}: unknown key; {advice}"
    if problem["type"] == "model_type":
        return f"{place}: expected a group of settings, got {problem['input']!r}"
    if problem["type"] == "missing":
        return f"{place}: is missing"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "value_error":
        return f"{place}: {message}" if place else message
    return f"{place}: {message}, got {problem['input']!r}"


def _walk(model: type[BaseModel], loc: tuple[int | str, ...]) -> tuple[list[str], list[str]]:
    """The keys of an error's location as the user wrote them (pydantic adds tags of unions), and the names valid there."""
    keys: list[str] = []
    fields: list[str] = []
    current: Any = model
    for part in loc:
        current = bare(current)
        members = [m for m in map(bare, get_args(current)) if m is not type(None)] if is_union(current) else []
        if members:
            chosen = [m for m in members if str(part) in _tags(m)]
            if chosen:
                current = chosen[0]
                continue
            current = members[0]
        keys.append(str(part))
        if isinstance(current, type) and issubclass(current, BaseModel):
            fields = list(current.model_fields)
            current = current.model_fields[part].annotation if part in current.model_fields else None  # type: ignore[index]
        else:
            current = get_args(current)[-1] if get_args(current) else None
    return keys, fields


def bare(annotation: Any) -> Any:
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    return annotation


def is_union(annotation: Any) -> bool:
    return get_origin(annotation) in (Union, types.UnionType)


def _tags(member: Any) -> list[str]:
    """The values of the literal that tells members of a union apart, such as `kind` or `name`."""
    if not (isinstance(member, type) and issubclass(member, BaseModel)):
        return []
    literals = [f.annotation for f in member.model_fields.values() if get_origin(f.annotation) is Literal]
    return [str(value) for literal in literals for value in get_args(literal)]
