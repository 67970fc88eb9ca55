"""Compare the engine with other libraries: `python benchmarks/engine.py [--only TEXT]`.

A row compares poolcli with one library, here called peer, on the same array and on one thread.
Both run in turn for several rounds. The ratio is the least time of poolcli divided by the least
time of the peer. Before that, their results are compared. Peers that are not installed are left
out.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from poolcli import avg_pool, max_pool, max_pool_with_indices, median_pool, mode_pool
from poolcli.colour import Pixels, pooled_bands
from poolcli.engine.window import Window
from poolcli.methods import make
from poolcli.picture import FrameInfo, Stored

Array: TypeAlias = NDArray[Any]
Call: TypeAlias = Callable[[], Array]

MOST_ROUNDS: Final = 50
LEAST_ROUNDS: Final = 3
SECONDS: Final = 1.5
CHANNELS: Final = {1: "grey", 3: "RGB", 4: "RGBA"}
LARGEST_OF_FRAMEWORKS: Final = 15
"""The largest window for peers that read every pixel of it, and would take minutes for more."""


class Work(NamedTuple):
    """What a row computes.

    Attributes:
        method: "max", "avg", "median" or "mode"; "weighted avg" weights RGB by alpha and averages
            alpha, "alpha avg" does so from RGBA to RGBA; "indices" are those of maxima.
        labels: the number of different values; 0 for a scene.
        size: the size of the square window.
        stride: the stride of both axes.
        channels: the number of channels.
        dtype: the type of the samples.
    """

    method: str
    size: int
    stride: int
    channels: int = 3
    dtype: str = "uint8"
    labels: int = 0

    @property
    def title(self) -> str:
        """The title of the row, such as "max 2/2 RGB"."""
        depth = "" if self.dtype == "uint8" else f" {self.dtype}"
        depth += f" of {self.labels} labels" if self.labels else ""
        return f"{self.method} {self.size}/{self.stride} {CHANNELS[self.channels]}{depth}"


class Row(NamedTuple):
    """A comparison with a peer; ``bound`` is the largest ratio that is promised, or None."""

    work: Work
    peer: str
    bound: float | None


PROMISES: Final = [
    Row(Work("max", 2, 2), "copyto", 1.7),
    Row(Work("max", 2, 2), "OpenCV dilate", 0.22),
    Row(Work("max", 3, 2), "OpenCV dilate", 0.32),
    Row(Work("max", 15, 15), "OpenCV dilate", 0.25),
    Row(Work("max", 2, 2, 1), "OpenCV dilate", 0.3),
    Row(Work("max", 2, 2, 4), "OpenCV dilate", 0.3),
    Row(Work("max", 31, 1), "OpenCV dilate", 0.9),
    Row(Work("max", 101, 1), "OpenCV dilate", 0.5),
    Row(Work("max", 31, 1, 1), "OpenCV dilate", 1.2),
    Row(Work("avg", 2, 2), "Pillow reduce", 1.0),
    Row(Work("avg", 3, 3), "Pillow reduce", 0.95),
    Row(Work("avg", 4, 4), "Pillow reduce", 0.95),
    Row(Work("avg", 15, 15), "Pillow reduce", 0.95),
    Row(Work("avg", 2, 2), "OpenCV INTER_AREA", 2.5),
    Row(Work("avg", 3, 3), "OpenCV INTER_AREA", 0.6),
    Row(Work("avg", 4, 4), "OpenCV INTER_AREA", 0.6),
    Row(Work("avg", 3, 2), "OpenCV blur", 0.8),
    Row(Work("avg", 31, 1), "OpenCV blur", None),
    Row(Work("avg", 31, 1, 1), "OpenCV blur", 2),
    Row(Work("max", 101, 1), "ours 5/1", 2.5),
    Row(Work("max", 101, 1, 1), "ours 5/1", 2.5),
    Row(Work("avg", 101, 1), "ours 5/1", 2.5),
    Row(Work("avg", 101, 1, 1), "ours 5/1", 2.5),
    Row(Work("avg", 101, 1, 3, "uint16"), "ours 5/1", 2.5),
    Row(Work("avg", 101, 1, 3, "float32"), "ours 5/1", 2.5),
    Row(Work("max", 2, 2, 3, "uint16"), "OpenCV dilate", 1),
    Row(Work("max", 2, 2, 3, "int16"), "OpenCV dilate", 1),
    Row(Work("max", 2, 2, 3, "float32"), "OpenCV dilate", 1),
    Row(Work("avg", 2, 2, 3, "uint16"), "OpenCV INTER_AREA", 4),
    Row(Work("avg", 2, 2, 3, "float32"), "OpenCV INTER_AREA", 2),
    Row(Work("weighted avg", 2, 2), "ours plain", 3.5),
    Row(Work("alpha avg", 2, 2, 4), "ours plain", 6),
    *(Row(Work("indices", size, size), "ours plain", None) for size in (2, 3, 8)),
    Row(Work("indices", 3, 2), "ours plain", None),
    *(Row(Work("median", size, size), "TensorStore", 0.25) for size in (2, 3, 4, 5, 8)),
    *(Row(Work("mode", size, size, 1), "TensorStore", 1.0) for size in (2, 4, 8, 16)),
    *(Row(Work("mode", size, size, 1, "uint8", 21), "TensorStore", 1.0) for size in (4, 16)),
    *(Row(Work("mode", size, size, 1, "uint32", 21), "TensorStore", 2.0) for size in (2, 8, 16)),
    *(Row(Work("median", size, 1, 1), "vips rank", None) for size in (31, 101, 301)),
    *(Row(Work("median", size, 1, 1, "uint16"), "ours 9/1", None) for size in (31, 101)),
]


def table() -> list[Row]:
    """Return the rows of the table: the promises, and their works with the slower peers."""
    rows = list(PROMISES)
    for work in dict.fromkeys(row.work for row in PROMISES):
        if work.size <= LARGEST_OF_FRAMEWORKS and work.method in ("max", "avg"):
            rows += [Row(work, peer, 0.2) for peer in ("PyTorch", "ONNX Runtime")]
            if work.size == work.stride:
                rows.append(Row(work, "scikit-image", 0.05))
    return rows


@cache
def picture(megapixels: float, channels: int, dtype: str, labels: int = 0) -> Array:
    """Return a smooth scene with noise, (H, W, C), in the ratio 4:3; floats are in 0…1.

    With labels it is a map of areas of about 20 pixels a side, one pixel in 20 of any label.
    """
    height = round((megapixels * 1e6 * 3 / 4) ** 0.5)
    width = round(height * 4 / 3)
    generator = np.random.default_rng(1)
    if labels:
        areas = generator.integers(0, labels, (height // 20 + 1, width // 20 + 1, channels))
        plain = areas.repeat(20, axis=0).repeat(20, axis=1)[:height, :width]
        mixed = generator.integers(0, labels, plain.shape)
        return np.where(generator.random(plain.shape) < 0.05, mixed, plain).astype(dtype)
    ramp = np.linspace(0, 200, width)[None, :, None] * np.linspace(0.3, 1, height)[:, None, None]
    noise = generator.integers(0, 56, (height, width, channels))
    scene = ramp + noise
    if dtype == "float32":
        return (scene / 255).astype(dtype)
    levels = {"uint8": (1, 0), "uint32": (1, 0), "uint16": (257, 0), "int16": (257, -32768)}
    step, least = levels[dtype]
    return (scene * step + least).astype(dtype)


def ours(work: Work, array: Array) -> Call:
    """Return the call of poolcli."""
    if work.method == "alpha avg":
        info = FrameInfo(array.shape, array.dtype, "RGBA", 255, Stored("unsigned", 8, 255, 4))
        axes = Window.of(work.size, work.stride).axes(array.shape[:2])
        args = info, lambda start, stop: array[start:stop], axes, make("avg"), Pixels()
        return lambda: np.concatenate([*pooled_bands(*args)])
    if work.method == "weighted avg":
        alpha = picture(array.shape[0] * array.shape[1] / 1e6, 1, "uint8")[..., 0]

        def pooled() -> Array:
            avg_pool(alpha, work.size, work.stride)
            return avg_pool(array, work.size, work.stride, weights=alpha)

        return pooled
    if work.method == "indices":
        return lambda: max_pool_with_indices(array, work.size, work.stride)[1]
    pool = {"max": max_pool, "avg": avg_pool, "median": median_pool, "mode": mode_pool}[work.method]
    return partial(pool, array, work.size, work.stride)


# Peers: each function prepares a call, or returns None if the library can't compute the work


def copyto(_: Work, array: Array) -> Call:
    """Prepare one copy of the input."""
    copy = np.empty_like(array)

    def copied() -> Array:
        np.copyto(copy, array)
        return copy

    return copied


def ours_small(work: Work, array: Array) -> Call:
    """Prepare the same work by poolcli with a window of 5."""
    return ours(work._replace(size=5), array)


def ours_nine(work: Work, array: Array) -> Call:
    """Prepare the same work by poolcli with a window of 9."""
    return ours(work._replace(size=9), array)


def tensorstore(work: Work, array: Array) -> Call:
    """Prepare TensorStore's downsampling, on one thread."""
    ts = _peer("tensorstore")
    limits = ts.Context({"data_copy_concurrency": {"limit": 1}})
    store = ts.downsample(
        ts.array(array, context=limits), [work.size, work.size, 1], method=work.method
    )
    return lambda: store.read().result()


def ours_plain(work: Work, array: Array) -> Call:
    """Prepare the same work by poolcli without weights from alpha, or without indices."""
    return ours(work._replace(method="max" if work.method == "indices" else "avg"), array)


def vips_rank(work: Work, array: Array) -> Call:
    """Prepare libvips' rank filter, on as many threads as it likes."""
    height, width = array.shape[:2]
    image = _peer("pyvips").Image.new_from_memory(array.tobytes(), width, height, 1, "uchar")
    half, index = work.size // 2, work.size**2 // 2

    def ranked() -> Array:
        memory = image.rank(work.size, work.size, index).write_to_memory()
        pixels = np.frombuffer(memory, np.uint8).reshape(height, width, 1)
        return pixels[half : height - half, half : width - half]

    return ranked


def pillow_reduce(work: Work, array: Array) -> Call:
    """Prepare Pillow's `reduce`, which rounds half up."""
    image = Image.fromarray(array)
    return lambda: np.asarray(image.reduce(work.size))


def opencv(work: Work, array: Array, apply: Callable[[Any], Array]) -> Array:
    """Apply a filter of OpenCV, which has stride 1 only, and pick its pixels at the stride."""
    full, inside = apply(_peer("cv2")).reshape(array.shape), 1 - work.size
    full = full[:inside, :inside]
    return full if work.stride == 1 else np.ascontiguousarray(full[:: work.stride, :: work.stride])


def opencv_dilate(work: Work, array: Array) -> Call:
    """Prepare OpenCV's dilation."""
    kernel = np.ones((work.size, work.size), np.uint8)
    return lambda: opencv(work, array, lambda cv2: cv2.dilate(array, kernel, anchor=(0, 0)))


def opencv_blur(work: Work, array: Array) -> Call:
    """Prepare OpenCV's box filter."""
    size = (work.size, work.size)
    return lambda: opencv(work, array, lambda cv2: cv2.blur(array, size, anchor=(0, 0)))


def opencv_area(work: Work, array: Array) -> Call:
    """Prepare OpenCV's resizing by area."""
    cv2 = _peer("cv2")
    extents = (array.shape[1] // work.size, array.shape[0] // work.size)
    return lambda: cv2.resize(array, extents, interpolation=cv2.INTER_AREA)


def pytorch(work: Work, array: Array) -> Call | None:
    """Prepare PyTorch on planar channels, which it pools faster than interleaved ones."""
    types = ("uint8", "int16", "float32") if work.method == "max" else ("float32",)
    if work.dtype not in types:
        return None
    torch = _peer("torch")
    pool = getattr(torch.nn.functional, f"{work.method}_pool2d")
    planes = torch.from_numpy(_planes(array))
    return lambda: pool(planes, work.size, work.stride)[0].permute(1, 2, 0).numpy()


def onnx_runtime(work: Work, array: Array) -> Call | None:
    """Prepare a model of one node for ONNX Runtime, on planar channels."""
    if work.dtype not in (("uint8", "float32") if work.method == "max" else ("float32",)):
        return None
    runtime, onnx = _peer("onnxruntime"), _peer("onnx")
    helper, planes = onnx.helper, _planes(array)
    kind = helper.np_dtype_to_tensor_dtype(array.dtype)
    node = helper.make_node(
        {"max": "MaxPool", "avg": "AveragePool"}[work.method],
        ["x"],
        ["y"],
        kernel_shape=[work.size] * 2,
        strides=[work.stride] * 2,
    )
    ends = [[helper.make_tensor_value_info(name, kind, [None] * 4)] for name in "xy"]
    graph = helper.make_graph([node], "pool", *ends)
    model = helper.make_model(
        graph, ir_version=10, opset_imports=[helper.make_operatorsetid("", 22)]
    )
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = runtime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return lambda: session.run(["y"], {"x": planes})[0][0].transpose(1, 2, 0)


def scikit_image(work: Work, array: Array) -> Call:
    """Prepare scikit-image's `block_reduce`."""
    reduce = importlib.import_module("skimage.measure").block_reduce
    block, act = (work.size, work.size, 1), {"max": np.max, "avg": np.mean}[work.method]
    return lambda: reduce(array, block, act)


def _planes(array: Array) -> Array:
    """Return the array with planar channels, as frameworks take it: (1, C, H, W)."""
    return np.ascontiguousarray(array.transpose(2, 0, 1))[None]


PEERS: Final[dict[str, tuple[Callable[[Work, Array], Call | None], str]]] = {
    "copyto": (copyto, "numpy"),
    "ours 5/1": (ours_small, "poolcli"),
    "ours 9/1": (ours_nine, "poolcli"),
    "TensorStore": (tensorstore, "tensorstore"),
    "ours plain": (ours_plain, "poolcli"),
    "vips rank": (vips_rank, "pyvips"),
    "Pillow reduce": (pillow_reduce, "PIL"),
    "OpenCV dilate": (opencv_dilate, "cv2"),
    "OpenCV blur": (opencv_blur, "cv2"),
    "OpenCV INTER_AREA": (opencv_area, "cv2"),
    "PyTorch": (pytorch, "torch"),
    "ONNX Runtime": (onnx_runtime, "onnxruntime"),
    "scikit-image": (scikit_image, "skimage"),
}
"""For each peer the function that prepares its call, and the module that it needs."""

OTHER_RESULTS: Final = ("copyto", "ours 5/1", "ours 9/1", "ours plain")
"""Peers that compute something else, to compare the time with: their results are not compared."""


@cache
def _peer(module: str) -> Any:
    """Import a module and set it to one thread; return None if it is not installed."""
    try:
        peer = importlib.import_module(module)
    except ImportError:
        return None
    if module == "cv2":
        peer.setNumThreads(1)
    elif module == "torch":
        peer.set_num_threads(1)
    elif module == "pyvips":
        peer.cache_set_max(0)  # or the second call would return the result of the first
    return peer


def compare(row: Row, mine: Array, theirs: Array) -> None:
    """Exit if two results differ; averages may differ by one level, since peers round otherwise."""
    if row.peer in OTHER_RESULTS:
        return
    most = 0.0 if row.work.method == "max" else 1e-6 if row.work.dtype == "float32" else 1.0
    same = mine.shape == theirs.shape
    if not same or np.abs(np.subtract(mine, theirs, dtype=np.float64)).max() > most:
        raise SystemExit(f"{row.work.title} / {row.peer}: the results differ")


def fastest(*calls: Call) -> list[float]:
    """Return the least seconds of each call; they run in turn."""
    best = [float("inf")] * len(calls)
    end = time.perf_counter() + SECONDS
    for done in range(MOST_ROUNDS):
        if done >= LEAST_ROUNDS and time.perf_counter() > end:
            break
        for side, call in enumerate(calls):
            started = time.perf_counter()
            call()
            best[side] = min(best[side], time.perf_counter() - started)
    return best


def measured(rows: Iterable[Row], megapixels: float) -> Iterator[tuple[Row, float, float]]:
    """Compare and time rows; yield (row, poolcli's seconds, the peer's seconds)."""
    for row in rows:
        work = row.work
        array = picture(megapixels, work.channels, work.dtype, work.labels)
        if work.size == work.stride:  # a whole number of windows: peers differ at the edges
            height, width = (extent // work.size * work.size for extent in array.shape[:2])
            array = np.ascontiguousarray(array[:height, :width])
        mine, theirs = ours(work, array), PEERS[row.peer][0](work, array)
        if theirs is None:
            continue
        compare(row, mine(), theirs())
        seconds = fastest(mine, theirs)
        yield row, seconds[0], seconds[1]


def main() -> None:
    """Print one table; exit with 1 if a promised bound is exceeded."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megapixels", type=float, default=12)
    parser.add_argument("--only", default="", help="only rows whose name has this text")
    args = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}  # read when a peer is imported
    wanted = [row for row in table() if args.only in f"{row.work.title} / {row.peer}"]
    modules = dict.fromkeys(PEERS[row.peer][1] for row in wanted)
    versions = {name: getattr(_peer(name), "__version__", "missing") for name in modules}
    print(", ".join(f"{name} {version}" for name, version in versions.items()))
    print(f"{'':44} {'ours ms':>8} {'peer ms':>8} {'ratio':>6}  at most")
    exceeded = []
    possible = [row for row in wanted if _peer(PEERS[row.peer][1]) is not None]
    for row, mine, theirs in measured(possible, args.megapixels):
        name, ratio = f"{row.work.title} / {row.peer}", mine / theirs
        passed = row.bound is not None and ratio > row.bound
        bound = "" if row.bound is None else f"{row.bound}{'  OVER' if passed else ''}"
        print(f"{name:44} {mine * 1e3:8.1f} {theirs * 1e3:8.1f} {ratio:6.2f}  {bound}", flush=True)
        exceeded += [name] * passed
    if exceeded:
        sys.exit(f"over the bound: {', '.join(exceeded)}")


if __name__ == "__main__":
    main()
