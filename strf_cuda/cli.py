"""Commands: a typed configuration from the command line and YAML, and errors as one sentence.

jsonargparse reads the options; what it says of a mistake is put here into a sentence that names the option, the file
it stands in, its value and the nearest right one. Nothing here imports torch, so `--help` answers at once.
"""

import argparse
import dataclasses
import json
import os
import re
import signal
import sys
import traceback
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import jsonargparse
import yaml

from strf_cuda.errors import InputError, nearest

Config = TypeVar("Config")


def run(main: Callable[[], None]) -> int:
    """Runs a command; prints an `InputError` as one sentence without a traceback. Returns the exit status."""
    # PyTorch's threads wait for each other by spinning, which on a shared machine costs several times the time of the
    # work itself; after a thousand turns they now sleep. Read when torch is imported, so it is set here.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    try:
        main()
    except (InputError, KeyboardInterrupt) as error:
        return report(error)
    except BrokenPipeError:
        if not _reader_has_gone():
            raise
        return 128 + signal.SIGPIPE
    return 0


def _reader_has_gone() -> bool:
    """Whether nobody reads what is printed any more, as after `| head`; if so it is printed nowhere from here on."""
    try:
        print(flush=True)  # what failed before need not fail again without something to write
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False


def report(error: BaseException) -> int:
    """Says on stderr why a command ends, other errors than its own with their traceback; returns the exit status."""
    if isinstance(error, InputError):
        print(f"error: {error}", file=sys.stderr)
        return 2
    if isinstance(error, KeyboardInterrupt):
        print(*error.args, "interrupted", sep="\n", file=sys.stderr)
        return 130
    traceback.print_exception(error)
    return 1


def load_config(
    config_class: type[Config],
    argv: Sequence[str] | None = None,
    *,
    prog: str,
    presets: Mapping[str, Path] | None = None,
    defaults: Mapping[str, Any] | None = None,
    positional: Sequence[str] = (),
) -> Config:
    """Reads a dataclass from the command line and `--config FILE` (YAML), later ones overriding earlier ones.

    Args:
        config_class: a dataclass of typed fields with defaults, nested dataclasses allowed; a field without a default
            is required.
        argv: the options, `sys.argv[1:]` when None.
        prog: how the command is called, for the help text.
        presets: YAML files by name. The one that `preset` names supplies the defaults, so `config_class` must have a
            `preset` field.
        defaults: a tree as `to_dict` gives it, in place of presets and of the dataclass's own defaults.
        positional: the fields that words which belong to no option stand for, in this order; one that is a tuple takes
            all that are left.

    Raises:
        InputError: an unknown option or key, a value of the wrong type, or an unreadable file.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    fields = _flat_fields(config_class)
    if positional:
        argv = _name_lone_words(argv, fields, positional)
    files = _config_files(argv)
    _check_options(argv, fields)
    argv = _spell_out_flags(argv, fields)
    for path, tree in files.items():
        _check_keys(tree, fields, path)
    argv = _complete_earlier_files(argv, files, config_class)
    parser = jsonargparse.ArgumentParser(prog=prog, description=_summary(config_class), exit_on_error=False)
    parser.add_class_arguments(config_class, None)
    parser.add_argument("--config", action="config", help="a YAML file holding any of these options")
    if defaults is not None:
        parser.set_defaults(_flatten(defaults))
    elif presets:
        preset = _chosen_preset(argv, files.values(), fields, presets)
        parser.set_defaults({"preset": preset, **_flatten(read_yaml(presets[preset]))})
    try:
        namespace = parser.parse_args(argv)
    except argparse.ArgumentError as error:
        raise InputError(_explain(str(error), fields, argv, files)) from None
    return _build(config_class, namespace.as_dict())


def to_dict(config: Any) -> dict[str, Any]:
    """The configuration as plain dicts, lists, strings and numbers, ready for YAML or JSON."""
    return _plain(dataclasses.asdict(config))


def flat_dict(config: Any) -> dict[str, Any]:
    """Every option by its dotted name, with values as in `to_dict`."""
    return _flatten(to_dict(config))


def from_dict(config_class: type[Config], tree: Mapping[str, Any], source: str) -> Config:
    """The inverse of `to_dict`; `source` names where the tree came from in error messages.

    A tree of an earlier version, which lacks options that came later, means what it meant then; stderr says so.

    Raises:
        InputError: a key that `config_class` does not have.
    """
    _check_keys(tree, _flat_fields(config_class), source)
    for group, (values, matter) in _lacking(config_class, tree).items():
        if matter:
            _note_earlier(source, group, {name: value for name, value in values.items() if name not in tree[group]})
        tree = {**tree, group: {**tree[group], **values}}
    return _build(config_class, tree)


def _lacking(config_class: type, tree: Mapping[str, Any]) -> dict[str, tuple[dict[str, Any], bool]]:
    """What `of_earlier_version` of each group of options says, where the tree lacks something."""
    hints = get_type_hints(config_class)
    groups = [name for name, group in hints.items() if hasattr(group, "of_earlier_version") and name in tree]
    lacking = {name: hints[name].of_earlier_version(tree[name]) for name in groups}
    return {name: (values, matter) for name, (values, matter) in lacking.items() if values}


def _note_earlier(source: str, group: str, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        print(
            f"note: {source} is of an earlier version, which had no {group}.{name}: it goes on with {value}, which is "
            "what that version computed",
            file=sys.stderr,
        )


def _complete_earlier_files(argv: Sequence[str], files: Mapping[str, Any], config_class: type) -> list[str]:
    """Puts what a `--config` file of an earlier version lacks behind it on the command line, where later words win."""
    words = []
    for position, word in enumerate(argv):
        words.append(word)
        path = word.removeprefix("--config=") if word.startswith("--config=") else word
        if path == word and (not position or argv[position - 1] != "--config"):
            continue
        later = {other.split("=")[0] for other in argv[position + 1 :]}
        for group, (values, _) in _lacking(config_class, files[path]).items():
            lacking = [name for name in values if name not in files[path][group] and f"--{group}.{name}" not in later]
            _note_earlier(path, group, {name: values[name] for name in lacking})
            words += [f"--{group}.{name}={'null' if value is None else value}" for name, value in values.items()]
    return words


@dataclasses.dataclass(frozen=True)
class _Field:
    type: Any
    required: bool


def _flat_fields(config_class: type, prefix: str = "") -> dict[str, _Field]:
    """Every option by its dotted name; a nested dataclass appears as itself and through its fields."""
    hints = get_type_hints(config_class)
    fields = {}
    for field in dataclasses.fields(config_class):
        name = prefix + field.name
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        fields[name] = _Field(hints[field.name], required)
        if dataclasses.is_dataclass(hints[field.name]):
            fields.update(_flat_fields(hints[field.name], name + "."))
    return fields


def _summary(config_class: type) -> str:
    return (config_class.__doc__ or "").split("Args:")[0].strip()


def _config_files(argv: Sequence[str]) -> dict[str, dict[str, Any]]:
    paths = []
    for position, word in enumerate(argv):
        if word == "--config" and position + 1 < len(argv):
            paths.append(argv[position + 1])
        elif word.startswith("--config="):
            paths.append(word.removeprefix("--config="))
    return {path: read_yaml(path) for path in paths}


def read_yaml(path: str | Path) -> dict[str, Any]:
    """A YAML file of option names and values; an InputError when it is anything else or cannot be read."""
    try:
        tree = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read the configuration file {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"the configuration file {path} is not valid YAML: {reason}") from None
    if not isinstance(tree, dict):
        raise InputError(f"the configuration file {path} holds {tree!r} where option names and values are expected")
    return tree


def _check_options(argv: Sequence[str], fields: Mapping[str, _Field]) -> None:
    known = [*fields, "config", "print_config", "help"]
    for word in argv:
        name = word[2:].split("=")[0]
        if word.startswith("--") and name not in known:
            raise InputError(f"unknown option --{name}{nearest(name, known)}")


def _name_lone_words(argv: Sequence[str], fields: Mapping[str, _Field], names: Sequence[str]) -> list[str]:
    """`--decode ROOT` means `--decode --root=ROOT`: a flag takes the next word only where that is true or false."""
    words = []
    free, several = list(names), []
    for position, word in enumerate(argv):
        before = argv[position - 1] if position else ""
        flag = before[2:] in fields and fields[before[2:]].type is bool
        of_option = before.startswith("--") and "=" not in before and (not flag or word in ("true", "false"))
        if word.startswith("-") or of_option:
            words.append(word)
            continue
        if not free:
            raise InputError(f"{word!r} belongs to no option: give one {' and one '.join(names)}")
        if get_origin(fields[free[0]].type) is tuple:
            several.append(word)
        else:
            words.append(f"--{free.pop(0)}={word}")
    return [*words, f"--{free[0]}={json.dumps(several)}"] if several else words


def _spell_out_flags(argv: Sequence[str], fields: Mapping[str, _Field]) -> list[str]:
    """`--resume` alone means `--resume=true`."""
    words = []
    for position, word in enumerate(argv):
        alone = position + 1 == len(argv) or argv[position + 1].startswith("--")
        flag = word.startswith("--") and word[2:] in fields and fields[word[2:]].type in (bool, bool | None)
        words.append(f"{word}=true" if flag and alone else word)
    return words


def _check_keys(tree: Mapping[str, Any], fields: Mapping[str, _Field], source: str, prefix: str = "") -> None:
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if name not in fields:
            siblings = [n.removeprefix(prefix) for n in fields if n.startswith(prefix) and "." not in n[len(prefix) :]]
            raise InputError(f"unknown key {name} in {source}{nearest(str(key), siblings)}")
        if dataclasses.is_dataclass(fields[name].type):
            if not isinstance(value, dict):
                raise InputError(f"{name} in {source} is {value!r}, but it is a group of options")
            _check_keys(value, fields, source, name + ".")


def _chosen_preset(argv, trees, fields, presets) -> str:
    chosen = get_args(fields["preset"].type)[0]
    for tree in trees:
        chosen = tree.get("preset", chosen)
    for position, word in enumerate(argv):
        if word == "--preset" and position + 1 < len(argv):
            chosen = argv[position + 1]
        elif word.startswith("--preset="):
            chosen = word.removeprefix("--preset=")
    if chosen not in presets:
        raise InputError(f"preset is {chosen!r}, but there are {_listed(presets)}{nearest(str(chosen), list(presets))}")
    return chosen


def _explain(message: str, fields: Mapping[str, _Field], argv: Sequence[str], files: Mapping[str, Any]) -> str:
    """One sentence for what jsonargparse says of a mistake in a value."""
    if missing := re.search(r"arguments are required: (.+)", message):
        return f"required but not given: --{missing[1]}"
    culprit = re.search(r'key "([\w.]+)"', message)
    if not culprit or culprit[1] not in fields:
        return " ".join(message.split())
    name = culprit[1]
    value, place = _given(name, argv, files)
    wanted = fields[name].type
    hint = nearest(str(value), [str(choice) for choice in get_args(wanted)]) if get_origin(wanted) is Literal else ""
    return f"{name}{place} is {value!r}, but it must be {_describe(wanted)}{hint}"


def _given(name: str, argv: Sequence[str], files: Mapping[str, Any]) -> tuple[Any, str]:
    """The value that was given for an option, and in words where: the last one wins, the command line over files."""
    for position in reversed(range(len(argv))):
        option, equals, value = argv[position].partition("=")
        if option == f"--{name}":
            return (value if equals else " ".join(argv[position + 1 : position + 2])), " on the command line"
    for path, tree in reversed(files.items()):
        flat = _flatten(tree)
        if name in flat:
            return flat[name], f" in {path}"
    return None, ""


def _describe(wanted: Any) -> str:
    origin, arguments = get_origin(wanted), get_args(wanted)
    if origin is Literal:
        return _listed(arguments)
    if origin in (Union, types.UnionType):
        return " or ".join("null" if option is type(None) else _describe(option) for option in arguments)
    if origin in (list, tuple):
        if origin is tuple and Ellipsis not in arguments:
            return f"a list of {len(arguments)}: " + ", ".join(_describe(option) for option in arguments)
        return f"a list, each {_describe(arguments[0])}"
    if dataclasses.is_dataclass(wanted):
        return "a group of options in a YAML file"
    return {int: "a whole number", float: "a number", bool: "true or false", str: "text"}.get(wanted, str(wanted))


def _listed(choices) -> str:
    words = [str(choice) for choice in choices]
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " or " + words[-1]


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for key, value in tree.items():
        flat.update(_flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value})
    return flat


def _build(config_class: type[Config], tree: Mapping[str, Any]) -> Config:
    hints = get_type_hints(config_class)
    values = {}
    for field in dataclasses.fields(config_class):
        if field.name in tree:
            value, wanted = tree[field.name], hints[field.name]
            if dataclasses.is_dataclass(wanted):
                value = _build(wanted, value)
            elif isinstance(value, list):
                value = tuple(value)
            values[field.name] = value
    return config_class(**values)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
