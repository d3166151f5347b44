"""Dealing groups out to sides so that each holds its share of every class.

Iterative stratification (Sechidis, Tsoumakas & Vlahavas 2011) of groups instead of examples: the class with the fewest
groups left is dealt out first, each group to the side that lacks most of it; then single groups change sides until
every class of two groups or more is on two sides, where that can be.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float, Int64

MOVES = 500
"""Groups at most that change sides in the end."""


def sides(
    counts: Float[np.ndarray, "g c1"], shares: Float[np.ndarray, " k"], tie: Float[np.ndarray, " g"], main: int | None
) -> Int64[np.ndarray, " g"]:
    """The side of every group, from how many of its examples are of each class and, last, how many there are.

    `tie` orders what is otherwise equal. A class of two groups or more is on two sides, one of them `main` if given,
    and every side has a group, where that can be.
    """
    dealt = _deal(counts, shares, tie)
    _spread(dealt, counts, shares, tie, main)
    return dealt


def _deal(
    counts: Float[np.ndarray, "g c1"], shares: Float[np.ndarray, " k"], tie: Float[np.ndarray, " g"]
) -> Int64[np.ndarray, " g"]:
    """The side of every group, dealt from the rarest class to the most frequent one, and then those without a class."""
    lacking = shares[:, None] * counts.sum(0)
    has = counts > 0
    queues = [_queue(counts[:, column], tie) for column in range(counts.shape[1])]
    left = has.sum(0)
    weight = 1 / np.maximum(counts.sum(0), 1)
    sides = np.full(len(counts), -1, np.int64)
    while left[-1]:
        classes = np.flatnonzero(left[:-1])
        column = int(classes[np.argmin(left[classes])]) if classes.size else -1
        group = next(group for group in queues[column] if sides[group] < 0)
        others = (lacking * (has[group] * weight)).sum(1)
        order = np.lexsort((lacking[:, -1], others.round(9), lacking[:, column].round(9)))
        sides[group] = order[-1]
        lacking[order[-1]] -= counts[group]
        left = left - has[group]
    return sides


def _queue(count: Float[np.ndarray, " g"], tie: Float[np.ndarray, " g"]) -> Iterator[int]:
    """The groups that have a class, the largest first; an iterator, so that each is looked at once."""
    order = np.lexsort((tie, -count))
    return iter(order[count[order] > 0].tolist())


def _spread(
    sides: Int64[np.ndarray, " g"],
    counts: Float[np.ndarray, "g c1"],
    shares: Float[np.ndarray, " k"],
    tie: Float[np.ndarray, " g"],
    main: int | None,
) -> None:
    """Moves single groups, in place, until every side has a group and every class of two is on two sides."""
    held = _Held(sides, counts > 0, len(shares), main)
    target = shares[:, None] * counts.sum(0)
    best, fewest = sides.copy(), held.missing().sum()
    for move in range(MOVES):
        missing = held.missing()
        if missing.sum() < fewest:
            best, fewest = sides.copy(), missing.sum()
        if not missing.any():
            break
        column = int(np.flatnonzero(missing)[move % np.count_nonzero(missing)])
        group, side = _best_move(held, counts, target, tie, column, move)
        held.move(group, side)
    if held.missing().sum() < fewest:
        best = sides.copy()
    sides[:] = best


def _best_move(
    held: "_Held",
    counts: Float[np.ndarray, "g c1"],
    target: Float[np.ndarray, "k c1"],
    tie: Float[np.ndarray, " g"],
    column: int,
    move: int,
) -> tuple[int, int]:
    """The group of a class and its new side that leave the least missing, and then the best balance."""
    found = []
    for group in np.flatnonzero(held.has[:, column]).tolist():
        old = int(held.sides[group])
        for side in range(held.count):
            if side != old:
                held.move(group, side)
                missing = held.missing().sum()
                held.move(group, old)
                balance = _imbalance(held.sides, counts, target, group, side)
                found.append((missing, group == held.last, balance, (tie[group] + 0.618 * move) % 1, group, side))
    *_, group, side = min(found)
    held.last = group
    return group, side


def _imbalance(
    sides: Int64[np.ndarray, " g"],
    counts: Float[np.ndarray, "g c1"],
    target: Float[np.ndarray, "k c1"],
    group: int,
    side: int,
) -> float:
    """How much worse the two sides of a move hold their shares after it."""
    old = sides[group]
    both = [old, side]
    now = np.stack([counts[sides == one].sum(0) for one in both])
    moved = now + np.stack([-counts[group], counts[group]])
    scale = np.maximum(counts.sum(0), 1)
    return float(((np.abs(moved - target[both]) - np.abs(now - target[both])) / scale).sum())


@dataclasses.dataclass
class _Held:
    """On how many sides every class is, kept up as groups move; the last column is that of all groups."""

    sides: Int64[np.ndarray, " g"]
    has: Bool[np.ndarray, "g c1"]
    count: int
    main: int | None
    last: int = -1  # the group that moved last

    def __post_init__(self) -> None:
        self.groups = np.zeros((self.count, self.has.shape[1]), np.int64)
        np.add.at(self.groups, self.sides, self.has)
        total = self.has.sum(0)
        self.needed = np.where(total >= 2, 2, np.minimum(total, 1))
        self.needed[-1] = self.count

    def move(self, group: int, side: int) -> None:
        """Puts a group on another side."""
        self.groups[self.sides[group]] -= self.has[group]
        self.groups[side] += self.has[group]
        self.sides[group] = side

    def missing(self) -> Int64[np.ndarray, " c1"]:
        """For every class, how many sides it lacks."""
        on = self.groups > 0
        lacks = np.maximum(self.needed - on.sum(0), 0)
        if self.main is not None:
            lacks = lacks + ((self.needed >= 2) & ~on[self.main])
        return lacks
