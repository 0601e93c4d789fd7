"""Trained models as ONNX: standard operators only, so any runtime of ONNX computes them, without torch and this code.

STRF units become the operators of the reference backend. The file takes what `ClipEmbedder` takes, uint8 RGB clips
[B, 3, T, H, W] under the name "clips", and gives features float32 [B, F] under "features", whatever B is.
"""

import dataclasses
import importlib
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import strf_cuda
from strf_cuda.errors import InputError
from strf_cuda.exporting.embedder import DYNAMIC_BATCH, embedder, example_clips
from strf_cuda.files import replacing
from strf_cuda.meaning import masks_in_words
from strf_cuda.trained import TrainedModel

SUFFIX = ".onnx"
INPUT, OUTPUT = "clips", "features"
STANDARD_DOMAIN = ""  # as ONNX calls its own operators
KEY = "strf_cuda."  # before the names in the file's metadata


@dataclasses.dataclass(frozen=True)
class Description:
    """What the metadata of a file say, each under "strf_cuda." and its name.

    Attributes:
        fingerprint: of the trained model, `TrainedModel.fingerprint`.
        model: its kind and unit, and how the masks of STRF units compare positions.
        input, output: what they are.
        embedding: how features make the embedding of a tracklet.
        version: of this package and of torch, which wrote it.
    """

    fingerprint: str
    model: str
    input: str
    output: str
    embedding: str
    version: str


class OnnxModel:
    """An ONNX file in onnxruntime on the CPU: maps uint8 RGB clips [B, 3, T, H, W] to float32 features [B, F].

    Attributes:
        metadata: of the file, by name.
    """

    def __init__(self, session: Any):
        self._session = session
        self.metadata: dict[str, str] = session.get_modelmeta().custom_metadata_map

    def __call__(self, clips: Tensor) -> Tensor:
        (features,) = self._session.run([OUTPUT], {INPUT: np.ascontiguousarray(clips.numpy())})
        return torch.from_numpy(features)


def save_onnx(trained: TrainedModel, path: str | Path) -> None:
    """Writes a trained model as ONNX; the model itself is left as it is.

    Raises:
        InputError: a package of the extra "export" is missing, or the file cannot be written.
    """
    check_packages()
    import onnx

    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            embedder(trained, backend="reference"),
            (example_clips(trained),),
            dynamo=True,
            dynamic_shapes=DYNAMIC_BATCH,
            input_names=[INPUT],
            output_names=[OUTPUT],
            custom_translation_table=_translations(),
            verbose=False,
        )
    model = program.model_proto
    graph = model.graph
    for remarked in (graph, *graph.node, *graph.value_info, *graph.input, *graph.output):
        remarked.ClearField("metadata_props")  # the exporter's remarks, which name the folders of this machine
    _check_standard(model)
    onnx.helper.set_model_props(
        model, {KEY + name: text for name, text in dataclasses.asdict(describe(trained)).items()}
    )
    onnx.checker.check_model(model, full_check=True)
    with replacing(path) as temporary:
        temporary.write_bytes(model.SerializeToString())


def load_onnx(path: str | Path) -> OnnxModel:
    """Opens an ONNX file in onnxruntime, on the CPU and on as many threads as torch has.

    Raises:
        InputError: a package of the extra "export" is missing, or onnxruntime does not take the file.
    """
    check_packages()
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        content = Path(path).read_bytes()  # onnxruntime opens files with names in UTF-8 alone
        return OnnxModel(onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"]))
    except Exception as error:  # onnxruntime's exceptions have no common class
        raise InputError(f"onnxruntime does not take {path}: {str(error).strip().splitlines()[0]}") from None


def describe(trained: TrainedModel) -> Description:
    """What a file of this model says of itself."""
    data, network = trained.config.data, trained.config.model
    size = f"{data.frames}, {data.height}, {data.width}"
    return Description(
        fingerprint=trained.fingerprint,
        model=f"{network.kind}, unit {network.unit}"
        + (f", {masks_in_words(network)}" if network.unit == "strf" else ""),
        input=f"{INPUT}: uint8 [any number, 3, {size}], RGB frames of {data.height}x{data.width} pixels, "
        f"{data.frames} to a clip, not normalised",
        output=f"{OUTPUT}: float32 [any number, {trained.model.feature_size}], not scaled to unit length",
        embedding="of a tracklet: the mean of its clips' features, scaled to unit length; compared by cosine distance",
        version=f"strf_cuda {strf_cuda.__version__}, torch {version('torch')}",
    )


def _check_standard(model: Any) -> None:
    """Raises an `AssertionError` if another operator than ONNX's own is in the graph: no runtime would know it."""
    own = {(node.domain, node.op_type) for node in model.graph.node if node.domain != STANDARD_DOMAIN}
    assert not own and not model.functions, f"not standard ONNX: {own or model.functions}"


def _translations() -> dict:
    """An operator that torch's exporter refuses: it asks for heads."""
    from onnxscript import opset20 as op

    def attention(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False):
        assert attn_mask is None and not (dropout_p or is_causal or enable_gqa) and scale is not None
        logits = op.MatMul(query, op.Transpose(key, perm=[0, 2, 1]))
        return op.MatMul(op.Softmax(op.Mul(logits, op.Constant(value_float=float(scale))), axis=-1), value)

    return {torch.ops.aten.scaled_dot_product_attention.default: attention}


def check_packages() -> None:
    """Imports the packages of the extra "export"; raises an `InputError` if one is missing."""
    # From 1.29 on, onnxruntime tells its makers over the network that and what it runs, unless this is set before it is
    # imported (its pull requests 27379 and 29843).
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    for package in ("onnx", "onnxscript", "onnxruntime"):
        try:
            importlib.import_module(package)
        except ImportError:
            raise InputError(f'ONNX needs {package}: pip install "strf_cuda[export]"') from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks on packages that no model here uses, and on its own use of torch."""
    log = logging.getLogger("torch.onnx._internal.exporter._registration")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore", category=FutureWarning):
            yield
    finally:
        log.setLevel(before)
