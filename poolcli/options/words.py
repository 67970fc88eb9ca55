"""List what people type who know other programs, and what it is called here."""

from __future__ import annotations

from typing import Final

from poolcli.formats import FORMATS
from poolcli.formats.saving import describe

_ANSWERS: Final = {
    "--skip-existing goes on where a run stopped": "resume continue skip incremental",
    "folders are searched with all folders inside them": "recursive recurse r R",
    "the output is the last path, or the folder of -t": "out output o dest destination output-dir"
    " outdir out-dir output-folder",
    "the inputs come before the output": "in input i src source input-dir",
    "give --size, or --fit or --output-size for the size of the output": "resize scale factor"
    " downscale downsample shrink reduce geometry percent ratio",
    "give --fit or --output-size": "width height thumbnail thumb max-size max-width max-height box"
    " adaptive global",
    "it is --size here": "kernel-size kernel kernel-shape pool-size poolsize pool ksize"
    " window window-size block block-size filter filter-size",
    "it is --stride here": "strides step",
    "it is --padding here": "pad pads auto-pad border",
    "it is --dilation here": "dilations dilate dilation-rate rate",
    "it is --jobs here": "threads nthreads workers processes procs nproc n-jobs cores cpus parallel"
    " num-workers P",
    "it is --overwrite here": "force clobber replace yes y",
    "existing outputs stay unless --overwrite is given": "no-clobber no-overwrite",
    "it is --quiet here": "silent log-level",
    "it is --verbose here": "debug trace",
    "give --color never": "no-color no-colour no-ansi",
    "it is --color here": "colour",
    "the verb names the method: max, min, avg, median or mode": "method function func op operation"
    " type statistic mode avg mean max min median",
    "it is --frame here": "page index layer slice",
    "it is --strip here": "strip-all strip-metadata no-metadata strip-exif no-exif metadata",
    "it is --background here": "bg flatten matte",
    "it is --name here": "suffix prefix rename pattern template",
    "it is --format here": "ext extension to convert output-format",
    "it is --files-from here": "from-file list file-list filelist input-list T",
    "it is --null here": "print0 from0 zero",
    "it is --dry-run here": "dryrun simulate just-print what-if",
    "it is --preserve here": "preserve-times copy-times keep-times archive times",
    "it is --axes here": "layout data-format dim dims order",
    "it is --quantile of the verb median": "percentile quantiles",
    "it is --count-include-pad of the verb avg": "include-pad count-pad",
    "it is --linear of the verb avg": "gamma linear-light",
    "it is --levels here": "level pyramid scales",
    "it is --indices of the verbs max and min": "return-indices argmax argmin switches",
    "it is --timeout here": "time-limit max-time",
    "it is --max-pixels here": "limit max-image-pixels limit-pixels",
    "it is --json here": "jsonl json-lines report",
    "poolcli --version tells it": "version",
    "it is --no-progress here": "no-bar no-progress-bar",
}
WORDS: Final = {word: answer for answer, words in _ANSWERS.items() for word in words.split()} | {
    key.replace("_", "-"): f"give --save-option {key}={describe(kind)}"
    for row in FORMATS
    for key, kind in row.options.items()
    if key not in ("compress_level", "method")
}
"""From an option of another program, without dashes, to what helps here."""

VERBS: Final = {
    **dict.fromkeys(("mean", "average", "avgpool", "avg-pool", "average-pool", "box"), "avg"),
    **dict.fromkeys(("maximum", "maxpool", "max-pool", "dilate"), "max"),
    **dict.fromkeys(("minimum", "minpool", "min-pool", "erode"), "min"),
    **dict.fromkeys(("quantile", "percentile"), "median"),
    **dict.fromkeys(("majority", "vote"), "mode"),
    **dict.fromkeys(("maxunpool", "max-unpool", "unpooling"), "unpool"),
    **dict.fromkeys(("resize", "scale", "shrink", "downsample", "thumbnail", "reduce"), "avg"),
}
"""From a verb of another program to the one that does it here."""
