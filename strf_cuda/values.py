"""Values of options: how text becomes what its option's type says, and YAML files of such text.

The command line and files are read alike. A scalar of a file stays the text that it is, so that 012 is 12 for a number
and 012 for a camera's name. Numbers, booleans and null are those of YAML 1.2's core schema
(https://yaml.org/spec/1.2.2/#103-core-schema); on the command line null is that word alone, since ~ is a folder there.
"""

import contextlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import yaml

from strf_cuda.contents import in_its_place
from strf_cuda.errors import InputError, nearest
from strf_cuda.files import expanded

_WHOLE = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_BOOLEANS = {word: word.lower() == "true" for word in ("true", "True", "TRUE", "false", "False", "FALSE")}


def read_value(given: Any, wanted: Any) -> Any:
    """What was given for an option, as the option's type has it.

    Args:
        given: text, None for null, a list of such, or what has its type already, as from JSON.
        wanted: a type of Python's `typing`, made of `Literal`, `tuple`, `int`, `float`, `bool`, `str` and None.

    Raises:
        ValueError: it is not of that type. Empty text never is.
    """
    origin, arguments = get_origin(wanted), get_args(wanted)
    if origin in (Union, UnionType):
        for alternative in arguments:
            with contextlib.suppress(ValueError):
                return read_value(given, alternative)
    elif origin is tuple:
        items = _items(given)
        types = arguments[:1] * len(items) if Ellipsis in arguments else arguments
        return tuple(read_value(item, type_) for item, type_ in zip(items, types, strict=True))
    elif origin is Literal:
        if given in arguments:
            return given
    elif isinstance(given, str) and wanted in _READERS:
        return _READERS[wanted](given)
    elif type(given) is wanted or (wanted is float and type(given) is int):
        return given
    raise ValueError


def _items(given: Any) -> list | tuple:
    items = parse_yaml(given) if isinstance(given, str) else given
    if not isinstance(items, (list, tuple)):
        raise ValueError
    return items


def _whole(text: str) -> int:
    if not _WHOLE.fullmatch(text := text.strip()):
        raise ValueError
    return int(text, 0 if text[1:2] in ("o", "x") else 10)


def _number(text: str) -> float:
    with contextlib.suppress(ValueError):
        return float(_whole(text))
    if not _NUMBER.fullmatch(text := text.strip()):
        raise ValueError
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))


def _boolean(text: str) -> bool:
    if text.strip() not in _BOOLEANS:
        raise ValueError
    return _BOOLEANS[text.strip()]


def _text(text: str) -> str:
    if not text:
        raise ValueError
    return text


_READERS = {int: _whole, float: _number, bool: _boolean, str: _text}


def written(value: Any) -> str:
    """A value as the command line takes it."""
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(written, value))}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def mistake(name: str, place: str, given: Any, wanted: Any, required: bool) -> str:
    """A sentence on what was given for an option and cannot be read, with the nearest right thing.

    Args:
        place: in words where it was given.
        required: the option has no default.
    """
    if given in (None, ""):
        shown, hint = "empty" if given == "" else "null", "" if required else "; leave it out for its default"
    else:
        shown, hint = repr(given) if isinstance(given, str) else written(given), _nearest(given, wanted)
    return f"{name} {place} is {shown}, but it must be {_describe(wanted)}{hint}"


def _nearest(given: Any, wanted: Any) -> str:
    alternatives = get_args(wanted) if get_origin(wanted) in (Union, UnionType) else (wanted,)
    text = str(given)
    if any(get_origin(alternative) is tuple for alternative in alternatives):
        if text.startswith("[") and not text.endswith("]"):
            return "; a list in which there are spaces needs quotes, such as '[1, 2]'"
        items = re.findall(r"[^\s,;()\[\]]+", text)
        with contextlib.suppress(ValueError):
            read_value(items, wanted)
            return f"; did you mean '{written(items)}'?"
    return nearest(text, [c for alternative in alternatives for c in get_args(alternative) if isinstance(c, str)])


def _describe(wanted: Any) -> str:
    origin, arguments = get_origin(wanted), get_args(wanted)
    if origin is Literal:
        return listed(arguments)
    if origin in (Union, UnionType):
        return " or ".join(map(_describe, arguments))
    if origin is tuple:
        if Ellipsis not in arguments:
            return f"a list of {len(arguments)}: " + ", ".join(map(_describe, arguments))
        return f"a list, each {_describe(arguments[0])}"
    return {int: "a whole number", float: "a number", bool: "true or false", str: "text", NoneType: "null"}.get(
        wanted, "a group of options"
    )


def listed(choices: Iterable[Any]) -> str:
    """ "a, b or c"."""
    words = [str(choice) for choice in choices]
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " or " + words[-1]


def read_yaml(path: str | Path) -> dict[str, Any]:
    """A YAML file of option names and values, its scalars as text, None for null.

    Raises:
        InputError: the file cannot be read, holds a key twice, or something else than names and values.
    """
    try:
        content = expanded(path).read_bytes()
    except OSError as error:
        raise InputError(f"cannot read the configuration file {path}: {error.strerror}") from None
    if found := in_its_place(content):
        raise InputError(f"the configuration file {path} is {found}")
    try:
        tree = parse_yaml(content)
    except ValueError as error:
        raise InputError(f"the configuration file {path} is not valid YAML: {error}") from None
    if not isinstance(tree, dict):
        held = "nothing" if tree is None else written(tree)
        raise InputError(f"the configuration file {path} holds {held} where option names and values are expected")
    return tree


def parse_yaml(content: str | bytes) -> Any:
    """What YAML text holds, its scalars as text, None for null; a ValueError with a sentence where it is not valid."""
    try:
        return yaml.load(content, _Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(" ".join(str(error).split())) from None


class _Loader(yaml.BaseLoader):
    """Leaves scalars as they are, and refuses what would go by without a word."""

    PREFIX, KINDS = "tag:yaml.org,2002:", ("null", "str", "int", "float", "bool", "seq", "map")

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        if node.tag.removeprefix(self.PREFIX) not in self.KINDS:
            raise ValueError(f"the tag {node.tag} in line {node.start_mark.line + 1} means nothing here")
        return super().construct_object(node, deep)

    def construct_scalar(self, node: yaml.ScalarNode) -> str | None:
        return None if node.tag == f"{self.PREFIX}null" else super().construct_scalar(node)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        lines: dict[str, int] = {}
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in lines:
                raise ValueError(
                    f"{key.value} of line {lines[key.value]} is there again in line {key.start_mark.line + 1}: put all "
                    "of it in one place"
                )
            lines[key.value] = key.start_mark.line + 1
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(f"{_Loader.PREFIX}null", re.compile("(~|null|Null|NULL|)$"), ["~", "n", "N", ""])


def yaml_text(tree: Mapping[str, Any]) -> str:
    """The inverse of `read_yaml`, but for types: each list is in one line, and what would read as null in quotes."""
    return yaml.dump(tree, Dumper=_Dumper, sort_keys=False)


class _Dumper(yaml.SafeDumper):
    """YAML with each list in one line."""


_Dumper.add_representer(
    list, lambda dumper, items: dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=True)
)
