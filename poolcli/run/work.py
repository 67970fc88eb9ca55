"""The settings of a run, as they are sent to workers."""

from __future__ import annotations

from typing import NamedTuple

from poolcli.colour import Pixels
from poolcli.engine.adaptive import OutputSize
from poolcli.engine.window import Window
from poolcli.formats.contract import Limits
from poolcli.formats.saving import Saving
from poolcli.methods import Method
from poolcli.run.stacks import Planes
from poolcli.storage import Place


class Work(NamedTuple):
    """The settings that are the same for every picture of a run.

    Attributes:
        method: what is computed of every window.
        window: size, stride, padding and dilation of the windows, or the size of the output.
        pixels: how alpha and NaN are treated.
        saving: how results are encoded.
        limits: how large a picture may be.
        overwrite: whether existing files may be replaced.
        update: whether outputs that are older than their inputs are replaced.
        exact: whether a picture fails of which pixels are unread, or whose windows take padding.
        skip_existing: whether a picture is skipped whose output another program has made meanwhile.
        preserve: whether outputs get the times and mode bits of their inputs.
        dry_run: whether only headers are read, and nothing is written.
        allow_depth_loss: whether samples may be rounded to 8 bits if the target or the decoder
            can't hold them.
        frame: the number of the only frame to pool, from 0; None for all frames.
        with_indices: whether the places of maxima or minima are written beside each picture.
        unpooled_by: the indices by which the values of a picture are put back to their places, or
            None.
        axes: the letters of the axes of arrays, as in `poolcli.layout`; None for (H, W[, C]).
        planes: how many planes of a stack are pooled together, or all of them; None if the input
            need not be a stack.
    """

    method: Method
    window: Window | OutputSize
    pixels: Pixels
    saving: Saving
    limits: Limits
    overwrite: bool = False
    update: bool = False
    exact: bool = False
    skip_existing: bool = False
    preserve: bool = False
    dry_run: bool = False
    allow_depth_loss: bool = False
    frame: int | None = None
    axes: str | None = None
    planes: Planes | None = None
    with_indices: bool = False
    unpooled_by: Place | None = None
