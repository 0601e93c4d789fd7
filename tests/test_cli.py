"""The configuration of the commands: precedence, and one sentence for each mistake."""

import importlib
import io
import os
import re
import signal
import subprocess
import sys
from dataclasses import MISSING, dataclass, field, is_dataclass
from pathlib import Path
from types import NoneType
from typing import Literal, get_args

import pytest

import strf_cuda
from strf_cuda.cli import _flat_fields, from_dict, load_config, run, to_dict
from strf_cuda.errors import InputError
from strf_cuda.values import read_value, read_yaml
from test_contents import POINTER


def configurations():
    """The class of every configuration that a command reads, by its name."""
    found = {}
    for path in Path(strf_cuda.__file__).parent.rglob("*.py"):
        for name in re.findall(r"load_config\((\w+Config),", path.read_text()):
            module = ".".join(path.relative_to(Path(strf_cuda.__file__).parents[1]).with_suffix("").parts)
            found[name] = getattr(importlib.import_module(module), name)
    return found


CONFIGURATIONS = configurations()


@dataclass
class Network:
    """The network.

    Args:
        kind: block kind
        blocks: blocks per stage
    """

    kind: Literal["c2d", "p3dc"] = "p3dc"
    blocks: tuple[int, ...] = (3, 4)
    weights: str | None = None


@dataclass
class Run:
    """Trains.

    Args:
        out: folder
        network: the network
    """

    out: str
    preset: Literal["small", "large"] = "small"
    network: Network = field(default_factory=Network)
    epochs: int = 3
    rate: float = 0.1
    quiet: bool = False
    loud: bool | None = None


def load(*argv, **options):
    return load_config(Run, list(argv), prog="run", **options)


def test_later_options_override_earlier_ones_and_files_override_presets(tmp_path):
    (tmp_path / "small.yaml").write_text("epochs: 5\nnetwork: {kind: c2d}\nrate: 0.5")
    (tmp_path / "large.yaml").write_text("epochs: 50")
    (tmp_path / "mine.yaml").write_text("rate: 0.25\nnetwork:\n  blocks: [1, 2, 3]")
    presets = {name: tmp_path / f"{name}.yaml" for name in ("small", "large")}
    config = load("--out=x", f"--config={tmp_path}/mine.yaml", "--epochs", "7", presets=presets)
    assert config == Run(out="x", network=Network(kind="c2d", blocks=(1, 2, 3)), epochs=7, rate=0.25)
    assert load("--out=x", "--preset=large", presets=presets) == Run(out="x", preset="large", epochs=50)


def test_a_switch_alone_means_true_also_where_null_is_its_default():
    assert load("--out=x", "--quiet", "--loud", "--epochs=1") == Run(out="x", quiet=True, loud=True, epochs=1)
    assert load("--out=x").loud is None and load("--out=x", "--loud=false").loud is False


def test_lone_words_stand_for_options_and_a_flag_before_them_takes_true_or_false_alone():
    for words in (["--quiet", "here", "3"], ["--quiet=true", "here", "--epochs=3"], ["--quiet", "true", "here", "3"]):
        assert load(*words, positional=["out", "epochs"]) == Run(out="here", epochs=3, quiet=True)


def test_a_configuration_survives_being_saved(tmp_path):
    config = Run(out="x", network=Network(blocks=(2, 2)), quiet=True)
    assert from_dict(Run, to_dict(config), "memory") == config
    assert to_dict(config)["network"]["blocks"] == [2, 2]


def test_what_is_printed_is_read_again_as_the_same(tmp_path, capsys):
    """Also names that YAML would take for something else."""
    for name in ("012", "null", "~", "true", "1:30", "a: b", "# x", "[x]", " x ", "é\n\udcff"):
        given = ["--rate=1e-05", "--network.blocks=[2, 2]", "--quiet"]
        given += ["--out=x"] if name == "null" else [f"--out={name}", f"--network.weights={name}"]
        with pytest.raises(SystemExit) as end:
            load(*given, "--print_config")
        assert not end.value.code
        (tmp_path / "printed.yaml").write_text(capsys.readouterr().out)
        assert load(f"--config={tmp_path}/printed.yaml") == load(*given)
    (tmp_path / "null.yaml").write_text("network: {weights: 'null'}")
    assert load("--out=x", f"--config={tmp_path}/null.yaml").network.weights == "null"


VALUES = [
    (int, "012", 12),
    (int, "0o17", 15),
    (int, "0x1F", 31),
    (int, "+3", 3),
    (int | None, "-3", -3),
    (float, "1e-3", 0.001),
    (float, "1E3", 1000.0),
    (float, ".5", 0.5),
    (float, "5.", 5.0),
    (float, "012", 12.0),
    (float, "-.inf", float("-inf")),
    (bool, "TRUE", True),
    (str, "012", "012"),
    (str, "1:30", "1:30"),
    (str, "yes", "yes"),
    (str | None, "2026-11-23", "2026-11-23"),
    (Literal["16", "32"], "32", "32"),
    (tuple[int, ...], "[02, 0x3,]", (2, 3)),
    (tuple[str, ...], "[02, no]", ("02", "no")),
    *[
        (int, text, None)
        for text in ("1:30", "1_000", "1e3", "3.0", "0b1", "017_", "٣", "true", "~", '"3"', "9" * 5000)
    ],
    *[(float, text, None) for text in ("1:30", "1:30.5", "1_000.5", "inf", "nan", "1e", "0,5", "off")],
    *[(bool, text, None) for text in ("yes", "no", "on", "off", "y", "1", "0", "tRUE")],
    *[(tuple[int, ...], text, None) for text in ("2", "2, 3", "[2, null]", "[1:30]", "[2", "{2: 3}")],
    (tuple[int, int], "[2]", None),
]


@pytest.mark.parametrize(("wanted", "text", "value"), VALUES)
def test_text_is_read_by_its_options_type_on_the_command_line_and_in_files(wanted, text, value, tmp_path):
    """Numbers, booleans and null as in YAML 1.2, in which 012 is 12, and neither 1:30 nor yes is anything but text."""
    given = [text]
    if not text.startswith(("{", '"', "2, ", "[2")) and text != "~":
        (tmp_path / "file.yaml").write_text(f"key: {text}", encoding="utf-8")
        given.append(read_yaml(tmp_path / "file.yaml")["key"])
    for each in given:
        if value is None:
            with pytest.raises(ValueError):
                read_value(each, wanted)
        else:
            assert read_value(each, wanted) == value and type(read_value(each, wanted)) is type(value)


def fails(config_class, *words):
    with pytest.raises(InputError) as error:
        load_config(config_class, list(words), prog="")
    assert "\n" not in str(error.value)
    return str(error.value)


def nested(name):
    """An option without a value in a YAML file."""
    return "".join(f"{'  ' * depth}{part}:\n" for depth, part in enumerate(name.split(".")))


@pytest.mark.parametrize("config_class", CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_an_empty_value_is_told_for_every_option_and_null_is_taken_where_it_is_one_of_its_values(
    config_class, tmp_path
):
    fields, file = _flat_fields(config_class), tmp_path / "mine.yaml"
    choices = {name: get_args(option.type) for name, option in fields.items() if option.default is MISSING}
    needed = [f"--{name}={choice[0] if choice else 'x'}" for name, choice in choices.items()]
    for name, option in fields.items():
        for words in ([f"--{name}="], [f"--{name}", ""]):
            assert fails(config_class, *words).startswith(f"{name} on the command line is empty, but it must be ")
        file.write_text(nested(name))
        for place, words in (("on the command line", [f"--{name}=null"]), (f"in {file}", [f"--config={file}"])):
            if NoneType in get_args(option.type):
                values = load_config(config_class, [*needed, *words], prog="")
                for part in name.split("."):
                    values = getattr(values, part)
                assert values is None
            elif "config" in words[0] or not is_dataclass(option.type):  # for a group this is a file of that name
                assert fails(config_class, *words).startswith(f"{name} {place} is null, but it must be ")


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["--ot=x"], "unknown option --ot; did you mean out?"),
        (["--out=x", "--network.knd=c2d"], "unknown option --network.knd; did you mean network.kind?"),
        (["--out=x", "--epochs=2.5"], "epochs on the command line is '2.5', but it must be a whole number"),
        (["--out=x", "--rate", "fast"], "rate on the command line is 'fast', but it must be a number"),
        (["--out=x", "--quiet=maybe"], "quiet on the command line is 'maybe', but it must be true or false"),
        (
            ["--out=x", "--network.kind=c2"],
            "network.kind on the command line is 'c2', but it must be c2d or p3dc; did you mean c2d?",
        ),
        (["--out=x", "--network.blocks=3"], "network.blocks on the command line is '3', but it must be a list"),
        (["--out=x", "--network.blocks", "[3,", "4]"], "network.blocks on the command line is '[3,', but it must be"),
        (["--out=x", "--epochs", "--quiet"], "epochs on the command line is empty, but it must be a whole number"),
        (["--out=x", "there"], "'there' belongs to no option"),
        (["--config="], "config on the command line is empty, but it must be text"),
        ([], "required but not given: --out"),
        (["--out=x", "--config=/no/such.yaml"], "cannot read the configuration file /no/such.yaml: No such file"),
    ],
)
def test_a_wrong_option_is_named_with_its_value_and_the_nearest_right_one(argv, sentence):
    with pytest.raises(InputError) as error:
        load(*argv)
    assert str(error.value).startswith(sentence)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("epoch: 3", "unknown key epoch in {file}; did you mean epochs?"),
        ("network: {kid: c2d}", "unknown key network.kid in {file}; did you mean kind?"),
        ("blocks: [3]", "unknown key blocks in {file}; did you mean network.blocks?"),
        ("network: 3", "network in {file} is '3', but it must be a group of options"),
        ("network:", "network in {file} is null, but it must be a group of options; leave it out for its default"),
        ("out:", "out in {file} is null, but it must be text"),
        ("out: {a: b}", "out in {file} is {{'a': 'b'}}, but it must be text"),
        (
            "network:\n  kind: c2d\nepochs: 3\nnetwork:\n  blocks: [1]",
            "the configuration file {file} is not valid YAML: network of line 1 is there again in line 4: put all",
        ),
        ("network: {kind: c2d, 'kind': p3dc}", "the configuration file {file} is not valid YAML: kind of line 1 is"),
        ("network: {kind: c2d}\nnetwork.kind: p3dc", "network.kind is there twice in {file}: leave one of them out"),
        ("out: !env HOME", "the configuration file {file} is not valid YAML: the tag !env in line 1 means nothing"),
        ("<<: {epochs: 3}", "unknown key << in {file}"),
        ("", "the configuration file {file} holds nothing where option names and values are expected"),
        ("epochs: many", "epochs in {file} is 'many', but it must be a whole number"),
        (
            "network: {blocks: [1, x]}",
            "network.blocks in {file} is [1, x], but it must be a list, each a whole number",
        ),
        ("[1, 2]", "the configuration file {file} holds [1, 2] where"),
        ("a: [", "the configuration file {file} is not valid YAML"),
    ],
)
def test_a_wrong_key_or_value_in_a_file_is_named_with_the_file(tmp_path, text, sentence):
    file = tmp_path / "wrong.yaml"
    file.write_text(text)
    with pytest.raises(InputError) as error:
        load("--out=x", f"--config={file}")
    assert str(error.value).startswith(sentence.format(file=file))
    assert "\n" not in str(error.value)
    if isinstance(text, str) and "!" not in text and text[:1] not in ("", "[", "a"):  # as config.yaml of a run is read
        with pytest.raises(InputError) as error:
            from_dict(Run, read_yaml(file), str(file))
        assert str(error.value).startswith(sentence.format(file=file))


def test_the_list_that_was_meant_is_shown():
    for text in ("1", "1,2", "1 2", "(1, 2)"):
        shown = ", ".join(re.findall(r"\d", text))
        assert fails(CONFIGURATIONS["CutConfig"], "--classes", text).endswith(f"; did you mean '[{shown}]'?")
    assert fails(CONFIGURATIONS["CutConfig"], "--classes", "[1,", "2]").endswith("needs quotes, such as '[1, 2]'")


def test_a_command_shows_an_input_error_without_a_traceback(capsys):
    def main():
        raise InputError("the folder /x does not exist")

    assert run(main) == 2
    assert capsys.readouterr().err == "error: the folder /x does not exist\n"


def test_reading_a_configuration_imports_neither_torch_nor_lightning():
    slow = ("torch", "lightning", "numpy", "jsonargparse")
    read = "from strf_cuda.train import read_options; read_options([])"
    code = f"import sys; {read}; print([name for name in {slow} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_a_reader_that_has_seen_enough_ends_a_command_in_silence():
    """As `| head` does."""
    printing = "[print('line', flush=True) for _ in range(9999)]"
    script = f"from strf_cuda.cli import run; raise SystemExit(run(lambda: {printing}))"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b"" and process.wait() == 128 + signal.SIGPIPE


def test_a_command_sees_that_a_child_failed_though_it_was_started_with_the_ends_of_children_ignored():
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    statuses = []
    try:
        assert run(lambda: statuses.append(subprocess.run(["false"]).returncode)) == 0
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert statuses == [1]


def test_a_command_that_was_started_with_closed_streams_has_some_that_lead_nowhere(tmp_path):
    script = (
        "import os, sys; from strf_cuda.cli import run\n"
        "def main():\n"
        "    print('out'); print('error', file=sys.stderr); assert sys.stdin.read() == ''\n"
        "    with open('opened', 'w') as file: file.write(str(file.fileno() > 2))\n"
        "sys.exit(run(main))"
    )
    command = [sys.executable, "-c", script]
    assert subprocess.run(["sh", "-c", '"$@" <&- >&- 2>&-', "sh", *command], cwd=tmp_path).returncode == 0
    assert (tmp_path / "opened").read_text() == "True"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_no_fault(tmp_path, encoding):
    (tmp_path / "file.yaml").write_text("key: Zoé\n", encoding=encoding)
    assert read_yaml(tmp_path / "file.yaml") == {"key": "Zoé"}


def test_what_came_in_place_of_a_configuration_is_named(tmp_path):
    (tmp_path / "file.yaml").write_bytes(POINTER)
    with pytest.raises(InputError, match="the configuration file .*file.yaml is a Git LFS pointer"):
        read_yaml(tmp_path / "file.yaml")


def test_names_may_begin_with_dashes(tmp_path):
    @dataclass
    class Named:
        """Two files.

        Args:
            first: one
            second: another
            flag: of no matter
        """

        first: str | None = None
        second: str | None = None
        flag: bool = False

    def read(*words):
        config = load_config(Named, words, prog="x", positional=["first", "second"])
        return config.first, config.second, config.flag

    assert read("-a.mp4", "--second", "-b", "--flag") == ("-a.mp4", "-b", True)
    assert read("--flag", "--second=--b", "--", "--flag") == ("--flag", "--b", True)
    assert read("--", "-h", "--") == ("-h", "--", False)


def test_whatever_a_name_holds_can_be_printed_and_told_in_one_line(monkeypatch):
    name = os.fsdecode(b"a\xff\n")
    streams = {part: io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for part in ("stdout", "stderr")}
    for part, stream in streams.items():
        monkeypatch.setattr(sys, part, stream)

    def main():
        print(name)
        raise InputError(f"{name} is missing")

    assert run(main) == 2
    said = []
    for stream in streams.values():
        stream.flush()
        said.append(stream.buffer.getvalue().decode())
    assert said == ["a\\udcff\n\n", "error: a\\udcff\\n is missing\n"]
