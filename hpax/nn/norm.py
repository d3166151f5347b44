"""Batch normalisation that knows padding from data and one device from eight."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Float

from hpax.types import Array


class BatchNorm(nn.Module):
    """Normalises each channel by the statistics of the *real* rows of the *global* batch.

    The statistics come from sums and counts, so a padded row counts as nothing and devices may hold different numbers
    of rows. Moving averages take the biased variance. The defaults are those of Keras, which published networks use.
    """

    axis_name: str | None = None  # the mapped axis over which sums are reduced; None on one device
    momentum: float = 0.99  # of the moving averages
    epsilon: float = 1e-3
    scaled: bool = True  # multiply by a learned scale; needless before a ReLU and another layer

    @nn.compact
    def __call__(
        self, x: Float[Array, " b *space c"], *, mask: Float[Array, " b"] | None = None, train: bool = False
    ) -> Float[Array, " b *space c"]:
        """`x` normalised by its batch if `train`, else by the moving averages; the rows of `mask` 0 are left out."""
        dtype, c = x.dtype, x.shape[-1]
        x = x.astype(jnp.float32)  # once: the parts of its gradient nearly cancel, and are to be added before rounding
        moving_mean = self.variable("batch_stats", "mean", jnp.zeros, (c,), jnp.float32)
        moving_var = self.variable("batch_stats", "var", jnp.ones, (c,), jnp.float32)
        scale = self.param("scale", nn.initializers.ones, (c,), jnp.float32) if self.scaled else 1.0
        bias = self.param("bias", nn.initializers.zeros, (c,), jnp.float32)
        mean, var = moving_mean.value, moving_var.value
        if train and not self.is_initializing():
            mean, var, count = self._moments(x, mask, shift=mean)
            step = jnp.where(count > 0, 1 - self.momentum, 0.0)  # a batch of padding alone moves nothing
            moving_mean.value += step * jax.lax.stop_gradient(mean - moving_mean.value)
            moving_var.value += step * jax.lax.stop_gradient(var - moving_var.value)
        gain = scale * jax.lax.rsqrt(var + self.epsilon)
        return (x * gain + (bias - mean * gain)).astype(dtype)

    def _moments(self, x: Array, mask: Array | None, shift: Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Mean and variance (c,) of the real rows on all devices in one pass, and how many values they rest on.

        Squares are taken about the moving mean: about zero they would cancel where a channel's mean outweighs its
        spread. Space is summed row by row before the batch is, which makes the mask a matter of (b, c) numbers.
        """
        space = tuple(range(1, x.ndim - 1))
        deviation = x - jax.lax.stop_gradient(shift)
        sums = jnp.stack([deviation.sum(space), jnp.square(deviation).sum(space)])
        rows = jnp.ones(x.shape[0]) if mask is None else jnp.asarray(mask)
        sums = jnp.where(rows[:, None] > 0, sums, 0.0).sum(1)
        count = (rows > 0).sum() * (x[0].size / x.shape[-1])
        if self.axis_name is not None:
            sums, count = jax.lax.psum((sums, count), self.axis_name)
        first, second = sums / jnp.maximum(count, 1)
        return shift + first, jnp.maximum(second - jnp.square(first), 0.0), count
