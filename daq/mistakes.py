"""Says in the words of the person who writes a config what is wrong in it, and what would be right."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, get_args

from pydantic import BaseModel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

_SECRETS = {
    "password": "password_file",
    "token": "token_file",
    "secret": "password_file",
    "passwd": "password_file",
}


def explain(error: ValidationError, model: type[BaseModel] | None = None) -> list[str]:
    """Describe each mistake that pydantic found: place, what is wrong, what would be right."""
    return [f"{_place(problem['loc'])}: {_advice(problem, model)}" for problem in error.errors()]


def _place(location: tuple[int | str, ...]) -> str:
    *tables, key = [str(part) for part in location if part != "[key]"] or ["file"]
    return f"[{'.'.join(tables)}] {key}" if tables else key


_BOUNDS = {
    "greater_than_equal": "at least",
    "less_than_equal": "at most",
    "greater_than": "more than",
    "less_than": "less than",
}


_TEXT, _NUMBER, _SWITCH = "write a text in quotes", "write a whole number without quotes", "write true or false"
_TABLE, _LIST = "this is a table of keys with their values", "write a list in brackets"
_FORMS = {
    "string_type": _TEXT,
    "path_type": _TEXT,
    "int_type": _NUMBER,
    "int_parsing": _NUMBER,
    "int_parsing_size": _NUMBER,
    "int_from_float": _NUMBER,
    "float_type": "write a number without quotes",
    "float_parsing": "write a number without quotes",
    "bool_type": _SWITCH,
    "bool_parsing": _SWITCH,
    "list_type": _LIST,
    "tuple_type": _LIST,
    "too_short": "it must not be empty",
    "dict_type": _TABLE,
    "model_type": _TABLE,
    "model_attributes_type": _TABLE,
}
"""What would be right, by the name of the mistake at pydantic."""


def _advice(problem: ErrorDetails, model: type[BaseModel] | None) -> str:
    key = str(problem["loc"][-1]) if problem["loc"] else ""
    context = problem.get("ctx", {})
    match problem["type"]:
        case "missing":
            return "missing"
        case "extra_forbidden" if key in _SECRETS:
            return f"a secret must not be in a config; write it into a file and name that as {_SECRETS[key]}"
        case "extra_forbidden":
            known = _keys_of_table(problem["loc"], model)
            near = difflib.get_close_matches(key, known, 1)
            return f'unknown; did you mean "{near[0]}"?' if near else f"unknown; known are {', '.join(known)}"
        case "literal_error":
            advice = f"use {context['expected']}"
        case bound if bound in _BOUNDS:
            advice = f"it must be {_BOUNDS[bound]} {next(iter(context.values()))}"
        case "string_pattern_mismatch":
            advice = f"it must have the form {context['pattern']}"
        case "tuple_type" if isinstance(problem["input"], (int, float)):
            advice = f"{_LIST}, as in [{problem['input']}]"
        case kind if kind in _FORMS:
            advice = _FORMS[kind]
            if advice in {_TABLE, _LIST}:
                return advice  # what stands there may hold a password
        case _:
            return problem["msg"].removeprefix("Value error, ")
    return f"{problem['input']!r} is not possible; {advice}"


def _keys_of_table(location: tuple[int | str, ...], model: type[BaseModel] | None) -> list[str]:
    """Give the keys that the table of a mistake may have."""
    for part in location[:-1]:
        if model is None:
            break
        annotation = model.model_fields[str(part)].annotation if str(part) in model.model_fields else model
        model = next((one for one in _models(annotation)), model)
    return sorted(model.model_fields) if model is not None else []


def _models(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)
