"""Write ``tests/golden-planes.json``: small stacks pooled by PyTorch and ONNX Runtime in 3-D.

Run from any directory in an environment that holds torch, onnx, onnxruntime and numpy::

    python benchmarks/golden_planes.py

The tests read the table, as that of ``golden.py``. Along the planes the stride is the size, without
padding, as in poolcli.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper

SEED = 20261126
CASES = 24
OPSET = 22
IR_VERSION = 10
TARGET = Path(__file__).resolve().parents[1] / "tests" / "golden-planes.json"


def main() -> None:
    """Draw stacks and windows, and write what both frameworks make of them."""
    rng = random.Random(SEED)
    cases = []
    for number in range(CASES):
        case = _draw(rng, ("max", "min", "avg")[number % 3])
        by = ("torch", "onnxruntime")[number // 3 % 2]
        output = (_by_torch if by == "torch" else _by_onnxruntime)(case)
        cases.append({"by": by, **case, "output": output.tolist()})
    versions = {"torch": torch.__version__, "onnxruntime": ort.__version__}
    head = json.dumps({"made_by": "python benchmarks/golden_planes.py", **versions})
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
    TARGET.write_text(f'{head[:-1]}, "cases": [\n{lines}\n]}}\n', "utf-8")


def _draw(rng: random.Random, method: str) -> dict[str, Any]:
    """Draw a stack (C, Z, H, W) and a window over it."""
    planes = rng.randint(1, 4)
    size = rng.randint(2, 3), rng.randint(2, 3)
    ceil_mode = rng.random() < 0.4
    # In ceil mode the frameworks would also pool the planes that are left over at the end.
    left_over = 0 if ceil_mode else rng.randrange(planes)
    shape = (2, planes * rng.randint(1, 2) + left_over, rng.randint(6, 9), rng.randint(6, 9))
    is_avg = method == "avg"
    return {
        "method": method,
        "planes": planes,
        "size": size,
        "stride": (rng.randint(1, 3), rng.randint(1, 3)),
        "padding": tuple(rng.randint(0, one // 2) for one in size),
        "dilation": (1, 1) if is_avg else (rng.randint(1, 2), rng.randint(1, 2)),
        "ceil_mode": ceil_mode,
        "count_include_pad": is_avg and rng.random() < 0.5,
        "input": np.reshape([rng.randint(-50, 50) for _ in range(np.prod(shape))], shape).tolist(),
    }


def _by_torch(case: dict[str, Any]) -> NDArray[Any]:
    """Pool with PyTorch, min as the negated max of the negated stack."""
    sign = -1 if case["method"] == "min" else 1
    stack = sign * torch.tensor(case["input"], dtype=torch.float64)[None]
    size, stride, padding, dilation = _window(case)
    ceil_mode, functional = case["ceil_mode"], torch.nn.functional
    if case["method"] == "avg":
        include = case["count_include_pad"]
        pooled = functional.avg_pool3d(stack, size, stride, padding, ceil_mode, include)
    else:
        pooled = functional.max_pool3d(stack, size, stride, padding, dilation, ceil_mode)
    result: NDArray[Any] = (sign * pooled)[0].numpy()
    return result


def _by_onnxruntime(case: dict[str, Any]) -> NDArray[Any]:
    """Pool with ONNX Runtime, min as the negated max of the negated stack."""
    sign, is_avg = -1 if case["method"] == "min" else 1, case["method"] == "avg"
    stack = sign * np.array(case["input"], np.float32)[None]
    size, stride, padding, dilation = _window(case)
    attributes: dict[str, Any] = {"kernel_shape": size, "strides": stride, "pads": padding * 2}
    attributes |= {"dilations": dilation, "ceil_mode": int(case["ceil_mode"])}
    if is_avg:
        attributes["count_include_pad"] = int(case["count_include_pad"])
    node = helper.make_node("AveragePool" if is_avg else "MaxPool", ["x"], ["y"], **attributes)
    ends = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", stack.shape), ("y", None))
    )
    graph = helper.make_graph([node], "pool", [next(ends)], [next(ends)])
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
    octets = model.SerializeToString()
    session = ort.InferenceSession(octets, providers=["CPUExecutionProvider"])
    result: NDArray[Any] = sign * session.run(["y"], {"x": stack})[0][0]
    return result


def _window(case: dict[str, Any]) -> tuple[tuple[int, int, int], ...]:
    """Return size, stride, padding and dilation along planes, height and width."""
    planes = case["planes"]
    firsts = {"size": planes, "stride": planes, "padding": 0, "dilation": 1}
    return tuple((first, *case[name]) for name, first in firsts.items())


if __name__ == "__main__":
    main()
