"""What every settings class shares."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo


class Settings(BaseModel):
    """Immutable; unknown keys are errors; defaults are checked like given values."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)


def setting(default: Any = ..., description: str = "", *, execution: bool = False, **constraints: Any) -> Any:
    """A documented field. `execution=True`: how it is run, not what is computed; never part of an identity."""
    return Field(default, description=description, json_schema_extra={"execution": True} if execution else None, **constraints)


def _without_braces(path: str) -> str:
    if "{" in path or "}" in path:
        raise ValueError(f"a path must not hold braces, which the workflow reads as wildcards, got {path!r}")
    return path


PathText = Annotated[str, Field(min_length=1), AfterValidator(_without_braces)]


def is_execution(field: FieldInfo) -> bool:
    """Whether a field was declared with `execution=True`."""
    extra = field.json_schema_extra
    return isinstance(extra, dict) and bool(extra.get("execution"))
