"""What tyro says, made readable: types of options in its help, and its boxed errors as one line."""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from typing import Any

from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

Spec = PrimitiveConstructorSpec[Any]
_NONE = ("none", "None")
_LONGEST = 400  # letters of an error


def registry() -> ConstructorRegistry:
    """Rules by which an option that may be None is `INT` and takes "none"; a list is `INT ...`, or "none" if empty."""
    found = ConstructorRegistry()
    found.primitive_rule(_optional)
    found.primitive_rule(_list)
    return found


def _optional(info: PrimitiveTypeInfo) -> Spec | None:
    arguments = typing.get_args(info.type)
    if info.type_origin not in (types.UnionType, typing.Union) or len(arguments) != 2 or type(None) not in arguments:
        return None
    inner = _spec(next(x for x in arguments if x is not type(None)), info)
    if inner is None or inner.nargs != 1:
        return None
    return dataclasses.replace(
        inner,
        instance_from_str=lambda words: None if words[0] in _NONE else inner.instance_from_str(words),
        is_instance=lambda value: value is None or inner.is_instance(value),
        str_from_instance=lambda value: ["none"] if value is None else inner.str_from_instance(value),
    )


def _list(info: PrimitiveTypeInfo) -> Spec | None:
    arguments = typing.get_args(info.type)
    if info.type_origin is not tuple or len(arguments) != 2 or arguments[1] is not Ellipsis:
        return None
    inner = _spec(arguments[0], info)
    if inner is None or inner.nargs != 1:
        return None
    return PrimitiveConstructorSpec(
        nargs="*",
        metavar=f"{inner.metavar} ...",
        instance_from_str=lambda words: () if words in (["none"], ["None"]) else _each(inner, words),
        is_instance=lambda value: isinstance(value, tuple) and all(map(inner.is_instance, value)),
        str_from_instance=lambda value: [word for item in value for word in inner.str_from_instance(item)] or ["none"],
    )


def _each(inner: Spec, words: list[str]) -> tuple:
    return tuple(inner.instance_from_str([word]) for word in words)


def _spec(hint: Any, info: PrimitiveTypeInfo) -> Spec | None:
    spec = ConstructorRegistry.get_primitive_spec(PrimitiveTypeInfo.make(hint, info.markers))
    return spec if isinstance(spec, PrimitiveConstructorSpec) else None


def one_line(box: str, command: str) -> str:
    """What one of tyro's boxed errors says, as one line."""
    sections: list[list[str]] = [[]]
    for line in box.splitlines():
        text = line.strip("╭╮╰╯│ \n")
        if text.strip("─") and not line.startswith("╭"):
            sections[-1].append(line.strip("│\n").rstrip())
        elif line.startswith("│"):  # a rule
            sections.append([])
    words = " ".join(" ".join(sections[0]).split())
    close = next((_flags(section) for section in sections[1:] if "Perhaps you meant" in section[0]), [])
    if words.startswith("Missing from"):
        words = f"{command} needs {' and '.join(_flags(sections[0]))}"
    for pattern, better in _BETTER:
        words = re.sub(pattern, better, words)
    hint = f"did you mean {close[0].partition(',')[0]}? " if close else ""
    words = words if len(words) <= _LONGEST else f"{words[:_LONGEST]}..."
    return f"{words.rstrip('.')}; {hint}`pwm {command} --help` shows all options"


_BETTER = (
    (r"^Error parsing (\S+): invalid literal for int\(\) with base 10: (.*)", r"\1: \2 is not a whole number"),
    (r"^Error parsing (\S+): could not convert string to float: (.*)", r"\1: \2 is not a number"),
    (r"^Error parsing (\S+): Exceeds the limit.*", r"\1: a number of thousands of digits"),
    (r"^Error parsing (\S+): Failed to parse key-value pairs!", r"\1: a name without its values"),
    (r"^Error parsing (\S+):", r"\1:"),
    (r"^Missing value for argument '(\S+?)'\. Expected 1 values", r"\1 needs a value"),
    (r"^Missing value for argument '(\S+?)'\. Expected (.*)", r"\1 needs \2"),
    (r"^Unrecognized options: -", "unknown option -"),
    (r"^Unrecognized options:", "more arguments than are known:"),
    (r"^invalid choice (\S+) for argument '(\S+?)'. Expected one of \((.*)\)\.?$", r"\2: \1 is none of \3"),
)


def _flags(lines: list[str]) -> list[str]:
    """The options in a section of a box: its lines with the least indentation but one."""
    depth = sorted({len(line) - len(line.lstrip()) for line in lines})
    return [line.strip() for line in lines if len(depth) > 1 and len(line) - len(line.lstrip()) == depth[1]]
