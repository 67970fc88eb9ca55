"""Another name of `tests.support`, until all test files import from there."""

from tests.support.output import *  # noqa: F403
from tests.support.processes import *  # noqa: F403
from tests.support.trees import *  # noqa: F403
