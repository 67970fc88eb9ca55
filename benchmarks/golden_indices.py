"""Write ``tests/golden-indices.json``: indices of maxima, and unpooled values, by other programs.

Run from any directory in an environment that holds torch, onnx and onnxruntime::

    python benchmarks/golden_indices.py

The tests read the table, as that of ``golden.py``.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from onnx import TensorProto, helper

SEED = 20261127
CASES = 12
OPSET, IR_VERSION = 22, 10
TARGET = Path(__file__).resolve().parents[1] / "tests" / "golden-indices.json"


def main() -> None:
    """Draw pictures and windows, and write what PyTorch and ONNX Runtime make of them."""
    onnxruntime.set_default_logger_severity(4)
    rng = random.Random(SEED)
    cases = [case for number in range(CASES) for case in (_by_torch(rng, number), _by_onnx(rng))]
    versions = {"torch": torch.__version__, "onnxruntime": onnxruntime.__version__}
    head = json.dumps({"made_by": "python benchmarks/golden_indices.py", **versions})
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
    TARGET.write_text(f'{head[:-1]}, "cases": [\n{lines}\n]}}\n', "utf-8")


def _by_torch(rng: random.Random, number: int) -> dict[str, Any]:
    """Return a case of PyTorch: max or min, with overlap, padding, dilation and ceil mode."""
    method = ("max", "min")[number % 2]
    size = rng.randint(1, 4), rng.randint(1, 4)
    case: dict[str, Any] = {
        "by": "torch",
        "method": method,
        "size": size,
        "stride": (rng.randint(1, 4), rng.randint(1, 4)),
        "padding": (rng.randint(0, size[0] // 2), rng.randint(0, size[1] // 2)),
        "dilation": (rng.randint(1, 2), rng.randint(1, 2)),
        "ceil_mode": number % 3 == 0,
    }
    image = _image(rng)
    sign = -1 if method == "min" else 1
    tensor = sign * torch.tensor(image, dtype=torch.float64)[None]
    window = [case[name] for name in ("size", "stride", "padding", "dilation", "ceil_mode")]
    values, indices = torch.nn.functional.max_pool2d(tensor, *window, return_indices=True)
    # The operator behind `MaxUnpool2d`, which knows no dilation, takes the shape alone.
    unpooled = torch.ops.aten.max_unpool2d(sign * values, indices, tensor.shape[1:])
    return case | {
        "input": image,
        "values": (sign * values)[0].tolist(),
        "indices": indices[0].tolist(),
        "unpooled": unpooled[0].tolist(),
    }


def _by_onnx(rng: random.Random) -> dict[str, Any]:
    """Return a case of ONNX Runtime: MaxPool with windows side by side, and MaxUnpool."""
    size = rng.randint(1, 3), rng.randint(1, 3)
    image = _image(rng)
    array = np.array(image, np.float32)[None, None]
    attributes = {"kernel_shape": size, "strides": size}
    values, indices = _run("MaxPool", {"x": array}, ["y", "i"], attributes)
    shape = np.array(array.shape, np.int64)
    feeds = {"x": values, "i": indices, "s": shape}
    (unpooled,) = _run("MaxUnpool", feeds, ["y"], attributes)
    return {
        "by": "onnxruntime",
        "method": "max",
        "size": size,
        "stride": size,
        "input": image,
        "values": values[0, 0].tolist(),
        "indices": indices[0, 0].tolist(),
        "unpooled": unpooled[0, 0].tolist(),
    }


def _run(
    operator: str, feeds: dict[str, Any], outputs: list[str], attributes: dict[str, Any]
) -> list[Any]:
    """Run one operator of ONNX."""
    kinds = {"i": TensorProto.INT64, "s": TensorProto.INT64}
    inputs = [
        helper.make_tensor_value_info(name, kinds.get(name, TensorProto.FLOAT), array.shape)
        for name, array in feeds.items()
    ]
    results = [
        helper.make_tensor_value_info(name, kinds.get(name, TensorProto.FLOAT), None)
        for name in outputs
    ]
    node = helper.make_node(operator, list(feeds), outputs, **attributes)
    graph = helper.make_graph([node], "pool", inputs, results)
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    found: list[Any] = session.run(outputs, feeds)
    return found


def _image(rng: random.Random) -> list[list[int]]:
    """Draw a picture with many equal pixels."""
    height, width = rng.randint(7, 10), rng.randint(7, 10)
    return [[rng.randint(-3, 3) for _ in range(width)] for _ in range(height)]


if __name__ == "__main__":
    main()
