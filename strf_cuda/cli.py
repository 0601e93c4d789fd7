"""Commands: a typed configuration from the command line and YAML, and errors as one sentence.

A mistake is one sentence that names the option, the file it stands in, its value and the nearest right one; `--help` is
what jsonargparse makes of a configuration's docstring. Nothing here imports torch, so it answers at once.
"""

import dataclasses
import errno
import functools
import io
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_origin, get_type_hints

from strf_cuda.errors import InputError, nearest
from strf_cuda.markdown import one_line
from strf_cuda.stopping import interruptible
from strf_cuda.values import mistake, read_value, read_yaml, yaml_text

Config = TypeVar("Config")
_OF_THE_NAME = (errno.ENAMETOOLONG, errno.EACCES, errno.ELOOP)  # faults that pathlib raises where it only looks


def run(main: Callable[[], None]) -> int:
    """Runs a command until it ends or is told to stop, however it was started. Returns the exit status.

    An `InputError` is printed as one sentence without a traceback.
    """
    # PyTorch's threads wait for each other by spinning, which on a shared machine costs several times the time of the
    # work itself; after a thousand turns they now sleep. Read when torch is imported, so it is set here.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    _open_closed_streams()
    if signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN:  # inherited, and then no child's failure would be seen
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files may be what no terminal can show
    try:
        with interruptible():
            main()
    except (InputError, KeyboardInterrupt) as error:
        return report(error)
    except BrokenPipeError:
        if not _reader_has_gone():
            raise
        return 128 + signal.SIGPIPE
    except OSError as error:
        if error.errno not in _OF_THE_NAME:
            raise
        return report(InputError(f"{os.fsdecode(error.filename or '')}: {error.strerror}"))
    return 0


def _open_closed_streams() -> None:
    """Leads standard streams that were closed from the start nowhere, or files would take their numbers."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))


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
        print(f"error: {one_line(str(error))}", file=sys.stderr)
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
        InputError: an unknown option or key, one that is given twice in a file, a value of the wrong type, or an
            unreadable file.
    """
    fields = _flat_fields(config_class)
    options = _options(sys.argv[1:] if argv is None else argv, {**fields, **OF_EVERY_COMMAND}, positional)
    read = [(name, text, _values_of(name, text, fields)) for name, text in options]
    given: dict[str, Any] = {}
    for number, (name, text, values) in enumerate(read):
        if name == "config":
            later = [name for _, _, others in read[number + 1 :] for name in others]
            values = _as_meant(config_class, values, text, later)
        given.update(values)
    if defaults is not None:
        base = _read_tree(defaults, fields, "in the defaults")
    elif presets:
        preset = given.get("preset", fields["preset"].default)
        base = {**_read_tree(read_yaml(presets[preset]), fields, f"in {presets[preset]}"), "preset": preset}
    else:
        base = {}
    own = {name: field.default for name, field in fields.items() if not dataclasses.is_dataclass(field.type)}
    values = {name: value for name, value in {**own, **base, **given}.items() if value is not dataclasses.MISSING}
    asked = {name for name, _, _ in read}
    if "help" in asked:
        _print_help(config_class, prog, base)
    elif "print_config" in asked:
        print(yaml_text(_nested(values)), end="")
    if asked & {"help", "print_config"}:
        raise SystemExit(0)
    if missing := [f"--{name}" for name in own if name not in values]:
        raise InputError(f"required but not given: {', '.join(missing)}")
    return _build(config_class, values)


def to_dict(config: Any) -> dict[str, Any]:
    """The configuration as plain dicts, lists, strings and numbers, ready for YAML or JSON."""
    return _plain(dataclasses.asdict(config))


def flat_dict(config: Any) -> dict[str, Any]:
    """Every option by its dotted name, with values as in `to_dict`."""
    return _flatten(to_dict(config))


def from_dict(config_class: type[Config], tree: Mapping[str, Any], source: str) -> Config:
    """The inverse of `to_dict`, also of what `read_yaml` reads; `source` names the tree's origin in error messages.

    A tree of an earlier version, which lacks options that came later, means what it meant then; stderr says so.

    Raises:
        InputError: a key that `config_class` does not have, or a value of the wrong type.
    """
    values = _read_tree(tree, _flat_fields(config_class), f"in {source}")
    return _build(config_class, _as_meant(config_class, values, source))


def _as_meant(config_class: type, values: Mapping[str, Any], source: str, later: Sequence[str] = ()) -> dict[str, Any]:
    """Values of a file with what they lack, if an earlier version wrote it; `later` are those that override them."""
    complete = dict(values)
    for group, type_ in get_type_hints(config_class).items():
        if not hasattr(type_, "of_earlier_version"):
            continue
        options = {name.removeprefix(f"{group}."): values[name] for name in values if name.startswith(f"{group}.")}
        lacking, matter = type_.of_earlier_version(options)
        for name, value in lacking.items():
            if matter and name not in options and f"{group}.{name}" not in later:
                print(
                    f"note: {source} is of an earlier version, which had no {group}.{name}: it goes on with {value}, "
                    "which is what that version computed",
                    file=sys.stderr,
                )
            complete[f"{group}.{name}"] = value
    return complete


@dataclasses.dataclass(frozen=True)
class _Field:
    type: Any
    default: Any  # MISSING where the option is required


OF_EVERY_COMMAND = {"config": _Field(str, None), "print_config": _Field(bool, False), "help": _Field(bool, False)}


@functools.cache
def _flat_fields(config_class: type, prefix: str = "") -> dict[str, _Field]:
    """Every option by its dotted name; a nested dataclass appears as itself and through its fields."""
    hints = get_type_hints(config_class)
    fields = {}
    for field in dataclasses.fields(config_class):
        name, group = prefix + field.name, dataclasses.is_dataclass(hints[field.name])
        fields[name] = _Field(hints[field.name], None if group else field.default)
        if group:
            fields.update(_flat_fields(hints[field.name], name + "."))
    return fields


def _options(
    argv: Sequence[str], fields: Mapping[str, _Field], positional: Sequence[str]
) -> Iterator[tuple[str, str | list[str]]]:
    """The options in order, each with the text that was given for it; a flag alone means true.

    Words that belong to none stand for `positional`, and there a flag takes the next word only where it is a boolean.
    After `--` every word is such a one, whatever it begins with.
    """
    words, free, several, lone = list(argv), list(positional), [], False
    while words:
        word = words.pop(0)
        if word == "--" and not lone:
            lone = True
            continue
        name, equals, value = word.removeprefix("--").partition("=")
        if word == "-h" and not lone:
            yield "help", "true"
        elif lone or not word.startswith("--"):
            if not free:
                hint = f": give one {' and one '.join(positional)}" if positional else ""
                raise InputError(f"{word!r} belongs to no option{hint}")
            if get_origin(fields[free[0]].type) is tuple:
                several.append(word)
            else:
                yield free.pop(0), word
        elif name not in fields:
            raise InputError(f"unknown option --{name}{nearest(name, list(fields))}")
        elif equals:
            yield name, value
        else:
            flag = fields[name].type in (bool, bool | None)
            follows = bool(words) and not words[0].startswith("--")
            if flag and positional:
                follows = follows and words[0] in ("true", "false")
            yield name, words.pop(0) if follows else "true" if flag else ""
    if several:
        yield free[0], several


def _values_of(name: str, given: Any, fields: Mapping[str, _Field]) -> dict[str, Any]:
    """The values that an option of the command line gives, by dotted name: several from a file."""
    field = {**fields, **OF_EVERY_COMMAND}[name]
    if given and name == "config":
        return _read_tree(read_yaml(given), fields, f"in {given}")
    if given and dataclasses.is_dataclass(field.type):
        return _read_tree(read_yaml(given), fields, f"in {given}", f"{name}.")
    value = _read(name, None if given == "null" else given, field, "on the command line")
    return {name: value} if name in fields else {}


def _read_tree(tree: Mapping[str, Any], fields: Mapping[str, _Field], place: str, prefix: str = "") -> dict[str, Any]:
    """The values of a tree by dotted name, each of its option's type."""
    values: dict[str, Any] = {}
    for key, given in tree.items():
        name = f"{prefix}{key}"
        if name not in fields:
            elsewhere = [other for other in fields if other.endswith(f".{key}")]
            siblings = [n.removeprefix(prefix) for n in fields if n.startswith(prefix) and "." not in n[len(prefix) :]]
            raise InputError(f"unknown key {name} {place}{nearest(str(key), elsewhere or siblings)}")
        if isinstance(given, dict) and dataclasses.is_dataclass(fields[name].type):
            found = _read_tree(given, fields, place, f"{name}.")
        else:
            found = {name: _read(name, given, fields[name], place)}
        if twice := [name for name in found if name in values]:
            raise InputError(f"{twice[0]} is there twice {place}: leave one of them out")
        values.update(found)
    return values


def _read(name: str, given: Any, field: _Field, place: str) -> Any:
    try:
        return read_value(given, field.type)
    except ValueError:
        required = field.default is dataclasses.MISSING
        raise InputError(mistake(name, place, given, field.type, required)) from None


def _print_help(config_class: type, prog: str, base: Mapping[str, Any]) -> None:
    import jsonargparse  # takes a quarter of a second

    description = (config_class.__doc__ or "").split("Args:")[0].strip()
    parser = jsonargparse.ArgumentParser(prog=prog, description=description, print_config=None)
    parser.add_class_arguments(config_class, None)
    parser.add_argument("--config", action="config", help="a YAML file holding any of these options")
    parser.add_argument("--print_config", action="store_true", help="print the complete configuration, and end")
    parser.set_defaults(dict(base))
    parser.print_help()


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `_flatten`."""
    tree: dict[str, Any] = {}
    for name, value in values.items():
        *groups, last = name.split(".")
        place = tree
        for group in groups:
            place = place.setdefault(group, {})
        place[last] = _plain(value)
    return tree


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for key, value in tree.items():
        flat.update(_flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value})
    return flat


def _build(config_class: type[Config], values: Mapping[str, Any], prefix: str = "") -> Config:
    given = {}
    for name, type_ in get_type_hints(config_class).items():
        if dataclasses.is_dataclass(type_):
            given[name] = _build(type_, values, f"{prefix}{name}.")
        elif f"{prefix}{name}" in values:
            given[name] = values[f"{prefix}{name}"]
    return config_class(**given)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
