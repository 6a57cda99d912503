"""Reads a pickle without executing it: nothing that it names is imported or called.

A pickle is a program whose names can be called or given state. Here names resolve to stand-ins from a short list, which
only store their arguments. The instructions are checked first, because some could exhaust memory before that.
"""

from __future__ import annotations

import pickle
import pickletools
from collections.abc import Callable
from io import BytesIO
from typing import Any

from pwm.runtime.errors import PWMError

# What protocols 2 to 4 emit for dictionaries, sequences, text, numbers, names and references to storages.
_INSTRUCTIONS = frozenset(
    "PROTO FRAME STOP MARK POP GLOBAL STACK_GLOBAL REDUCE NEWOBJ BUILD BINPERSID NONE NEWTRUE NEWFALSE BININT BININT1 "
    "BININT2 LONG1 BINFLOAT BINUNICODE SHORT_BINUNICODE EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST APPEND "
    "APPENDS EMPTY_DICT SETITEM SETITEMS EMPTY_SET ADDITEMS BINGET LONG_BINGET BINPUT LONG_BINPUT MEMOIZE".split()
)


class Sealed:
    """An object that a pickle may contain but not modify."""

    def __setstate__(self, state: Any) -> None:
        raise PWMError("the pickle wants to change what it may only hold; refused")


class Inert:
    """Stand-in for any class or function of a package: stores its arguments and does nothing else."""

    contents: list[Any]

    def __new__(cls, *given: Any) -> Inert:  # NEWOBJ does not call __init__
        self = super().__new__(cls)
        self.contents = list(given)
        return self

    def __setstate__(self, state: Any) -> None:
        self.contents.append(state)

    def __setitem__(self, key: Any, value: Any) -> None:
        self.contents.append({key: value})


def read_inert(program: bytes, find: Callable[[str, str], Any], persistent: Callable[[Any], Any]) -> Any:
    """The objects that a pickle describes.

    Args:
        find: (module, name) -> stand-in, or None if the name is not allowed.
        persistent: reference to an object outside the pickle -> its stand-in.

    Raises:
        PWMError: the pickle is damaged, or uses a name or an instruction that is not allowed. Nothing was executed.
    """

    class Unpickler(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            found = find(module, name)
            if found is None:
                cure = "refused, and nothing in it was executed. Get the file from a source that you trust"
                raise PWMError(f"asks for {short(f'{module}.{name}')}, which data do not need; {cure}")
            return found

        def persistent_load(self, pid: Any) -> Any:
            return persistent(pid)

    try:
        _check(program)
        return Unpickler(BytesIO(program)).load()
    except PWMError:
        raise
    except Exception as error:  # a damaged pickle can raise anything
        raise PWMError(f"its description is damaged ({short(error)}); copy the file again") from error


def _check(program: bytes) -> None:
    for instruction, argument, _ in pickletools.genops(program):
        if instruction.name not in _INSTRUCTIONS:
            raise PWMError(f"uses the pickle instruction {instruction.name}, which data do not need; refused")
        # The unpickler allocates a memo of this length.
        if "PUT" in instruction.name and argument > len(program):
            raise PWMError("numbers its parts far beyond their count; refused")


def short(value: Any) -> str:
    """Text from an untrusted file, escaped and cut to fit in a one-line message."""
    text = str(value) if isinstance(value, (str, Exception)) else type(value).__name__
    return repr(text[:80])[1:-1]
