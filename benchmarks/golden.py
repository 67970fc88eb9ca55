"""Write ``tests/golden.json``: small pictures pooled by PyTorch and ONNX Runtime.

Run from any directory in an environment that holds torch, onnx, onnxruntime and numpy::

    python benchmarks/golden.py

The tests read the table, so that they compare with both frameworks without installing either. For
each topic, random cases are drawn that a framework and poolcli both define. The result of the
framework is compared with a nested loop in exact fractions; if they differ, the case is printed and
left out.
"""

from __future__ import annotations

import json
import math
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from exact import Case, Padding, Pair, Rows, axis_of, expected
from onnx import helper

SEED = 20240229
OPSET = 22
IR_VERSION = 10  # the oldest version with this OPSET, so that older runtimes load the model too
PER_TOPIC = 2
MOST_DRAWS = 20_000
TARGET = Path(__file__).resolve().parents[1] / "tests" / "golden.json"
SOURCES = [(by, method) for by in ("torch", "onnxruntime") for method in ("max", "min", "avg")]


def by_torch(case: Case) -> Rows:
    """Pool with PyTorch, min as the negated max of the negated picture."""
    image = torch.tensor(case.image, dtype=getattr(torch, case.dtype))[None, None]
    pads = ((0, 0), (0, 0)) if isinstance(case.padding, str) else case.padding
    padding = (pads[0][0], pads[1][0])
    if case.method == "avg":
        out = torch.nn.functional.avg_pool2d(
            image,
            case.size,
            case.stride,
            padding,
            case.ceil_mode,
            case.count_include_pad,
            case.divisor_override,
        )
    else:
        sign = -1 if case.method == "min" else 1
        out = sign * torch.nn.functional.max_pool2d(
            sign * image, case.size, case.stride, padding, case.dilation, case.ceil_mode
        )
    rows: Rows = out[0, 0].tolist()
    return rows


def by_onnxruntime(case: Case) -> Rows:
    """Pool with ONNX Runtime, min as the negated max of the negated picture."""
    sign = -1 if case.method == "min" else 1
    image = sign * np.array(case.image, case.dtype)[None, None]
    session = ort.InferenceSession(_model(case), providers=["CPUExecutionProvider"])
    rows: Rows = (sign * session.run(["y"], {"x": image})[0][0, 0]).tolist()
    return rows


def _model(case: Case) -> bytes:
    """Build an ONNX model of one node that pools `x` into `y`."""
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(case.dtype))
    named = {"valid": "VALID", "same": "SAME_UPPER", "same_lower": "SAME_LOWER"}
    attributes: dict[str, Any] = {
        "kernel_shape": case.size,
        "strides": case.stride,
        "dilations": case.dilation,
        "ceil_mode": int(case.ceil_mode),
    }
    if isinstance(case.padding, str):
        attributes["auto_pad"] = named[case.padding]
    else:
        (top, bottom), (left, right) = case.padding
        attributes["pads"] = (top, left, bottom, right)
    if case.method == "avg":
        attributes["count_include_pad"] = int(case.count_include_pad)
    operator = "AveragePool" if case.method == "avg" else "MaxPool"
    graph = helper.make_graph(
        [helper.make_node(operator, ["x"], ["y"], **attributes)],
        "pool",
        [helper.make_tensor_value_info("x", kind, [1, 1, *case.extent])],
        [helper.make_tensor_value_info("y", kind, None)],
    )
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
    return bytes(model.SerializeToString())


FRAMEWORKS: dict[str, Callable[[Case], Rows]] = {
    "torch": by_torch,
    "onnxruntime": by_onnxruntime,
}


def draw(rng: random.Random, by: str, method: str) -> Case:
    """Draw a random case that the framework can compute."""
    is_torch, is_avg = by == "torch", method == "avg"

    def pair(pick: Callable[[], int]) -> Pair:
        return pick(), pick()

    size = pair(lambda: rng.choice((1, 2, 2, 3, 3, 3, 4, 5)))
    padding = _draw_padding(rng, is_torch, size)
    same = padding in ("same", "same_lower")
    dilatable = not same and not (is_torch and is_avg) and rng.random() < 0.4
    dilation = pair(lambda: rng.randint(1, 3)) if dilatable else (1, 1)
    stride = (_draw_stride(rng, size[0], same), _draw_stride(rng, size[1], same))
    override = is_torch and is_avg and rng.random() < 0.25
    image = _draw_image(rng, is_torch and not is_avg and rng.random() < 0.2)
    return Case(
        by=by,
        method=method,
        size=size,
        stride=stride,
        padding=padding,
        dilation=dilation,
        ceil_mode=rng.random() < 0.5,
        count_include_pad=is_avg and rng.random() < 0.5,
        divisor_override=rng.randint(1, 12) if override else None,
        dtype="float64" if is_torch or not is_avg else "float32",  # all ONNX Runtime averages
        nan=None if all(math.isfinite(v) for row in image for v in row) else "propagate",
        image=image,
    )


def _draw_padding(rng: random.Random, is_torch: bool, size: Pair) -> Padding:
    """Draw a padding: PyTorch's is symmetric and at most k/2, ONNX Runtime's below k."""
    if is_torch:
        top, left = (rng.randint(0, k // 2) for k in size)
        return rng.choice((((top, top), (left, left)), ((top, top), (left, left)), "valid"))
    if rng.random() < 0.5:
        return rng.choice(("valid", "same", "same_lower"))
    top, bottom, left, right = (rng.randrange(k) for k in (size[0], size[0], size[1], size[1]))
    return (top, bottom), (left, right)


def _draw_stride(rng: random.Random, k: int, same: bool) -> int:
    """Draw a stride, under `same` at most the size."""
    return rng.choice((k, rng.randint(1, k), rng.randint(1, k if same else k + 2)))


def _draw_image(rng: random.Random, special: bool) -> Rows:
    """Draw a picture of integers or halves, with some NaN and infinities where `special`."""
    height, width = (rng.choice((1, *range(2, 10), *range(4, 10))) for _ in range(2))
    unit = rng.choice((1, 1, 2))

    def value() -> float:
        if special and rng.random() < 0.25:
            return rng.choice((math.nan, math.inf, -math.inf, -math.inf))
        drawn = rng.randint(-50 * unit, 50 * unit)
        return drawn / unit if unit > 1 else drawn

    return [[value() for _ in range(width)] for _ in range(height)]


def topics_of(case: Case) -> set[str]:
    """Return the topics that a case is an example of; it must have an output."""
    axes = axis_of(case, 0), axis_of(case, 1)
    explicit = not isinstance(case.padding, str)
    symmetric = not isinstance(case.padding, str) and all(p0 == p1 for p0, p1 in case.padding)
    padded = any(t < 0 or a.n <= t < a.end for a in axes for w in a.windows for t in w)
    overhang = any(a.overhangs for a in axes)
    dilated = any(d > 1 and k > 1 for d, k in zip(case.dilation, case.size, strict=True))
    height, width = case.extent
    found = {
        "stride above size": any(s > k for s, k in zip(case.stride, case.size, strict=True)),
        "stride as size": case.stride == case.size != (1, 1),
        "window not square": case.size[0] != case.size[1],
        "size 1": case.size == (1, 1),
        "dilation": dilated,
        "dilation padded": dilated and padded,
        "dilation overhang": dilated and overhang,
        "overhang": overhang,
        "overhang padded": overhang and padded,
        "ceil shortened": any(a.shortened for a in axes),
        "dropped pixels": any(a.drops for a in axes),
        "symmetric padding": symmetric and padded,
        "asymmetric padding": explicit and padded and not symmetric,
        "valid": case.padding == "valid" and case.size != (1, 1),
        "same": case.padding == "same" and padded,
        "same_lower": case.padding == "same_lower" and padded,
        "one row": height == 1 < width,
        "one column": width == 1 < height,
        "count_include_pad": case.count_include_pad and padded,
        "count_include_pad overhang": case.count_include_pad and padded and overhang,
        "divisor_override": case.divisor_override is not None,
        "halves": any(v % 1 == 0.5 for row in case.image for v in row if math.isfinite(v)),
        "nan": case.nan is not None and any(math.isnan(v) for row in case.image for v in row),
        "nan overhang padded": case.nan is not None and padded and overhang,
    }
    return {name for name, holds in found.items() if holds}


def applies(topic: str, by: str, method: str) -> bool:
    """Return whether a framework can compute a topic for a method."""
    if topic in ("asymmetric padding", "same", "same_lower"):
        return by == "onnxruntime"
    if topic.startswith("dilation"):
        return by == "onnxruntime" or method != "avg"
    if topic.startswith("count_include_pad"):
        return method == "avg"
    if topic.startswith("nan"):
        return by == "torch" and method != "avg"
    return topic != "divisor_override" or (by == "torch" and method == "avg")


TOPICS = (
    "stride above size", "stride as size", "window not square", "size 1",
    "dilation", "dilation padded", "dilation overhang", "overhang", "overhang padded",
    "ceil shortened", "dropped pixels", "symmetric padding", "asymmetric padding", "valid",
    "same", "same_lower", "one row", "one column", "count_include_pad",
    "count_include_pad overhang", "divisor_override", "halves", "nan", "nan overhang padded",
)  # fmt: skip


def difference(case: Case, wanted: Rows, got: Rows) -> str | None:
    """Return how a framework's output differs from the exact one, or None if it doesn't."""
    ours, theirs = np.array(wanted, case.dtype), np.array(got, case.dtype)
    if ours.shape != theirs.shape:
        return "shape"
    return None if np.array_equal(ours, theirs, equal_nan=True) else "value"


def answer(case: Case, wanted: Rows, reasons: Counter[str]) -> Rows | None:
    """Return the framework's output; if it can't be used, count the reason and return None."""
    source = f"{case.by} {case.method}"
    try:
        got = FRAMEWORKS[case.by](case)
    except Exception as error:  # noqa: BLE001 - ONNX Runtime's errors share no other base
        reasons[f"rejected by {source}: {str(error).splitlines()[0][:200]}"] += 1
        return None
    reason = difference(case, wanted, got)
    if reason is None:
        return got
    reasons[f"disagrees with {source}: {reason}"] += 1
    print("DISAGREES", encoded(case, got), "expected", wanted, file=sys.stderr)
    return None


def cases_of(topic: str, by: str, method: str, reasons: Counter[str]) -> Iterator[str]:
    """Yield `PER_TOPIC` encoded cases of one topic for one framework and method."""
    rng = random.Random(f"{SEED} {topic} {by} {method}")
    missing = PER_TOPIC
    for _ in range(MOST_DRAWS):
        case = draw(rng, by, method)
        wanted = expected(case)
        if wanted is None or topic not in topics_of(case):
            continue
        output = answer(case, wanted, reasons)
        if output is not None:
            yield encoded(case, output)
            missing -= 1
        if not missing:
            return
    reasons[f"too few cases: {topic}, {by} {method}"] += missing


def encoded(case: Case, output: Rows) -> str:
    """Return a case as one line of JSON."""
    fields: dict[str, object] = {
        "by": case.by,
        "method": case.method,
        "size": case.size,
        "stride": case.stride,
        "padding": case.padding,
        "dilation": case.dilation,
        "ceil_mode": case.ceil_mode,
        "count_include_pad": case.count_include_pad,
        "divisor_override": case.divisor_override,
        "dtype": case.dtype,
    }
    if case.nan is not None:
        fields["nan"] = case.nan
    fields["input"] = _spelled(case.image)
    fields["output"] = _spelled(output)
    return json.dumps(fields, separators=(",", ":"), allow_nan=False)


def _spelled(rows: Rows) -> list[list[float | str]]:
    """Return the rows with NaN and infinities as strings, since JSON has no such numbers."""
    return [[v if math.isfinite(v) else str(v) for v in row] for row in rows]


def main() -> int:
    """Write the table; return 1 if a framework disagrees or a topic has too few cases."""
    ort.set_default_logger_severity(4)
    reasons: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    lines: list[str] = []
    for by, method in SOURCES:
        for topic in TOPICS:
            if applies(topic, by, method):
                found = list(cases_of(topic, by, method, reasons))
                counts[f"{by} {method}"] += len(found)
                lines.extend(found)
    head = {
        "made_by": "python benchmarks/golden.py",
        "seed": SEED,
        "torch": torch.__version__,
        "onnxruntime": ort.__version__,
        "onnx": onnx.__version__,
        "opset": OPSET,
    }
    opening = json.dumps(head, indent=0)[:-2]
    TARGET.write_text(opening + ',\n"cases": [\n' + ",\n".join(lines) + "\n]\n}\n", "utf-8")
    print(f"{TARGET}: {len(lines)} cases, {TARGET.stat().st_size} bytes")
    for name, count in (*counts.items(), *reasons.items()):
        print(f"{count:5}  {name}")
    return 1 if reasons else 0


if __name__ == "__main__":
    sys.exit(main())
