"""The configuration of the commands: precedence, and one sentence for each mistake."""

import signal
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Literal

import pytest

from strf_cuda.cli import from_dict, load_config, run, to_dict
from strf_cuda.errors import InputError


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


def test_a_configuration_survives_being_saved(tmp_path):
    config = Run(out="x", network=Network(blocks=(2, 2)), quiet=True)
    assert from_dict(Run, to_dict(config), "memory") == config
    assert to_dict(config)["network"]["blocks"] == [2, 2]


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
        ("network: 3", "network in {file} is 3, but it is a group of options"),
        ("epochs: many", "epochs in {file} is 'many', but it must be a whole number"),
        (
            "network: {blocks: [1, x]}",
            "network.blocks in {file} is [1, 'x'], but it must be a list, each a whole number",
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


def test_an_unknown_preset_is_named(tmp_path):
    (tmp_path / "small.yaml").write_text("epochs: 5")
    with pytest.raises(InputError, match="preset is 'smal', but there are small; did you mean small"):
        load("--out=x", "--preset=smal", presets={"small": tmp_path / "small.yaml"})


def test_a_command_shows_an_input_error_without_a_traceback(capsys):
    def main():
        raise InputError("the folder /x does not exist")

    assert run(main) == 2
    assert capsys.readouterr().err == "error: the folder /x does not exist\n"


def test_reading_a_configuration_imports_neither_torch_nor_lightning():
    code = "import sys, strf_cuda.cli; print([m for m in ('torch', 'lightning', 'numpy') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_a_reader_that_has_seen_enough_ends_a_command_in_silence():
    """As `| head` does."""
    printing = "[print('line', flush=True) for _ in range(9999)]"
    script = f"from strf_cuda.cli import run; raise SystemExit(run(lambda: {printing}))"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b"" and process.wait() == 128 + signal.SIGPIPE
