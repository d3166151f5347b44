"""The brightness of a channel as the networks see it, the same in training and in prediction."""

import numpy as np
from jaxtyping import Float32, UInt

LOW, HIGH = 0.01, 0.995  # shares of a channel's pixels that are background at most, and bright at least
FAINTEST = 0.01  # of the dtype's full scale; a channel of less contrast is not stretched beyond this


def percentile_normalise(
    channel: UInt[np.ndarray, "h w"], *, low: float = LOW, high: float = HIGH, faintest: float = FAINTEST
) -> Float32[np.ndarray, "h w"]:
    """A channel from its `low` to its `high` quantile as 0 to 1; what lies beyond is cut off, a flat channel is 0.

    A few bright or dead pixels change nothing, and adding a constant changes nothing. Multiplying by one changes
    nothing either, but for a channel whose quantiles differ by less than `faintest` of full scale: it stays dim.
    """
    counts = np.bincount(channel.ravel())
    shares = np.cumsum(counts) / max(channel.size, 1)
    bottom, top = np.searchsorted(shares, (low, high))
    extent = max(top - bottom, faintest * np.iinfo(channel.dtype).max)
    levels = np.clip((np.arange(len(counts)) - bottom) / extent, 0, 1)
    return levels.astype(np.float32)[channel]
