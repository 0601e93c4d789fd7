"""`python -m strf_cuda.export`: a trained model in a form that leaves its run, checked against the model in Python.

safetensors   a folder to give away: weights, configuration, model card; strf_cuda.from_pretrained reads it
export        a program of torch.export (.pt2), for PyTorch without this package's Python code
aoti          a package compiled by AOTInductor (.pt2), for C++ and Python
onnx          standard ONNX operators, for any other runtime
"""

import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from strf_cuda import hub
from strf_cuda.cli import load_config, run
from strf_cuda.errors import InputError
from strf_cuda.files import expanded

PROG = "python -m strf_cuda.export"
SUFFIXES = {"safetensors": "", "export": ".pt2", "aoti": ".pt2", "onnx": ".onnx"}
ENDINGS = {"safetensors": "-model", "export": ".pt2", "aoti": "-aoti.pt2", "onnx": ".onnx"}


@dataclass(frozen=True)
class ExportConfig:
    """Writes a trained model for other programs, and compares what they compute with what it computes in Python.

    Args:
        checkpoint: a checkpoint of strf_cuda.train, a folder of strf_cuda.export, or hf://owner/name
        format: safetensors (a folder to give away, with a model card), export (a program of torch.export), aoti (a
            package compiled for C++ and Python) or onnx
        out: the folder of safetensors, new or empty, or the file; null puts it beside the checkpoint
        backend: of STRF units in export and aoti; auto takes the operator library where it is usable, reference makes
            do without it
        push_to_hub: owner/name, a repository on the Hugging Face hub to put the folder of safetensors into as well
        public: a repository that is new is for everybody to see
    """

    checkpoint: str
    format: Literal["safetensors", "export", "aoti", "onnx"]
    out: str | None = None
    backend: Literal["auto", "reference"] = "auto"
    push_to_hub: str | None = None
    public: bool = False


@dataclass(frozen=True)
class Format:
    """How one format is written and read.

    Attributes:
        write: takes the trained model and a path.
        open: takes that path; what it gives maps uint8 clips [B, 3, T, H, W] to float32 features [B, F].
        load: how a person opens it, in Python.
        exact: whether features must have the same bits.
    """

    write: Callable[[Any, Path], Any]
    open: Callable[[Path], Callable]
    load: str
    exact: bool = False


def main(argv: Sequence[str] | None = None) -> None:
    config = read_options(sys.argv[1:] if argv is None else argv)

    from strf_cuda.quiet import show_warnings_in_one_line

    show_warnings_in_one_line()
    export(config)


def read_options(words: Sequence[str]) -> ExportConfig:
    """The checked configuration that a command line gives."""
    config = load_config(ExportConfig, words, prog=PROG)
    _check(config)
    return config


def export(config: ExportConfig) -> Path:
    """Writes a model, reads it back, compares and prints what came out; returns the file or folder.

    Raises:
        InputError: a model or options that cannot be used, a package or compiler that is missing, a place that cannot
            be written to, or features that differ too much; then no file is left.
    """
    _check(config)
    out = _place(config)

    from strf_cuda.exporting.checking import BATCHES, compare
    from strf_cuda.files import check_free, replacing
    from strf_cuda.trained import open_model

    folder = config.format == "safetensors"
    if folder:
        check_free(out)
    chosen = _format(config, out)
    trained = open_model(config.checkpoint)
    data, network = trained.config.data, trained.config.model
    print(f"{network.kind}, unit {network.unit}, from {config.checkpoint}")
    print(f"writing {out}{', which is compiled first' if config.format == 'aoti' else ''}", flush=True)
    with nullcontext(out) if folder else replacing(out) as place:
        chosen.write(trained, place)
        print("comparing it with the model in Python", flush=True)
        difference = compare(trained, chosen.open(place), exactly=chosen.exact)
    clips = f"uint8 [any number, 3, {data.frames}, {data.height}, {data.width}]"
    batches = f"{', '.join(map(str, BATCHES[:-1]))} and {BATCHES[-1]}"
    print(
        f"\n{out}: {config.format}, {_megabytes(out):,.1f} MB\n"
        f"takes        {'normalised clips, float32' + clips[5:] if folder else 'RGB clips, ' + clips}\n"
        f"gives        features, float32 [any number, {trained.model.feature_size}]\n"
        f"fingerprint  {trained.fingerprint}\n"
        f"load it      {chosen.load}\n"
        f"difference   {_number(difference.embedding)} at most in a number of a clip's embedding, where "
        f"{_number(difference.allowed)} is allowed;\n"
        f"             {_number(difference.distance)} at most in a cosine distance; "
        f"made-up clips in batches of {batches}"
    )
    if config.push_to_hub is not None:
        print(f"hub          https://huggingface.co/{config.push_to_hub}")
    return out


def _format(config: ExportConfig, out: Path) -> Format:
    path = str(out)
    if config.format == "safetensors":
        from strf_cuda.exporting.embedder import embedder
        from strf_cuda.pretrained import save_pretrained
        from strf_cuda.trained import open_model

        return Format(
            lambda trained, place: save_pretrained(
                trained, place, push_to_hub=config.push_to_hub, private=not config.public
            ),
            lambda place: embedder(open_model(place)),
            f"strf_cuda.from_pretrained({path!r})",
            exact=True,
        )
    if config.format == "onnx":
        from strf_cuda.exporting.onnx import INPUT, OUTPUT, check_packages, load_onnx, save_onnx

        check_packages()  # before anything is computed
        load = f'onnxruntime.InferenceSession({path!r}).run(["{OUTPUT}"], {{"{INPUT}": clips}})'
        return Format(save_onnx, load_onnx, load)
    from strf_cuda.exporting import program

    if config.format == "export":
        return Format(
            lambda trained, place: program.save_program(trained, place, backend=config.backend),
            program.load_program,
            f"strf_cuda.exporting.program.load_program({path!r})",
        )
    return Format(
        lambda trained, place: program.save_package(trained, place, backend=config.backend),
        program.load_package,
        f"strf_cuda.exporting.program.load_package({path!r})",
    )


def _place(config: ExportConfig) -> Path:
    """Where the model goes: beside a checkpoint or a model's folder, under its name, unless the options say."""
    if config.out is not None:
        return expanded(config.out)
    source = expanded(config.checkpoint)
    return source.with_name((source.name if source.is_dir() else source.stem) + ENDINGS[config.format])


def _number(difference: float) -> str:
    return f"{difference:.1e}" if difference else "0"


def _megabytes(path: Path) -> float:
    files = path.iterdir() if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files) / 1e6


def _check(config: ExportConfig) -> None:
    if config.out is None and config.checkpoint.startswith(hub.PREFIX):
        raise InputError(f"{config.checkpoint} is not on this machine: say with --out where the model goes")
    suffix = SUFFIXES[config.format]
    if config.out is not None and suffix and Path(config.out).suffix != suffix:
        raise InputError(f"out is {config.out}, but with --format {config.format} it is a file that ends in {suffix}")
    if config.format != "safetensors" and (config.push_to_hub is not None or config.public):
        raise InputError(
            f"format is {config.format}, but only safetensors are put on a hub: leave out the options of it"
        )
    if config.push_to_hub is not None:
        hub.check_repository(config.push_to_hub)
    elif config.public:
        raise InputError("--public is of no use without --push_to_hub owner/name")
    if config.format not in ("export", "aoti") and config.backend != "auto":
        raise InputError(
            f"backend is {config.backend}, but --format {config.format} has no choice of one: leave it out"
        )


if __name__ == "__main__":
    raise SystemExit(run(main))
