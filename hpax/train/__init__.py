"""Training: knows state, steps and devices; knows no task, no network and no dataset."""

from hpax.train.checkpoint import load
from hpax.train.evaluate import Evaluator, evaluate
from hpax.train.every import Every
from hpax.train.fit import fit
from hpax.train.log import history
from hpax.train.loop import Batches, Run, updates
from hpax.train.parallel import AXIS
from hpax.train.processes import initialize
from hpax.train.state import Init, State, create

__all__ = [
    "AXIS",
    "Batches",
    "Evaluator",
    "Every",
    "Init",
    "Run",
    "State",
    "create",
    "evaluate",
    "fit",
    "history",
    "initialize",
    "load",
    "updates",
]
