"""A small vision transformer of single cells that can be shown a part of their patches (He et al. 2022)."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Float, Int

from hpax.nn.swin import EPSILON, folded
from hpax.types import Array


class Block(nn.Module):
    """Attention and a perceptron, each added to what comes in."""

    heads: int

    @nn.compact
    def __call__(self, x: Float[Array, "b t d"]) -> Float[Array, "b t d"]:
        """The tokens after the block."""
        x = x + nn.MultiHeadDotProductAttention(self.heads, name="attention")(nn.LayerNorm(EPSILON, name="norm1")(x))
        hidden = nn.gelu(nn.Dense(4 * x.shape[-1], name="wide")(nn.LayerNorm(EPSILON, name="norm2")(x)))
        return x + nn.Dense(x.shape[-1], name="narrow")(hidden)


class MaskedTransformer(nn.Module):
    """Encodes the patches that are shown, pools them by attention, and paints the others from them.

    A masked autoencoder with an attention-pooled embedding, as SubCell has it (Gupta et al. 2024), much smaller.
    """

    channels: int
    embedding: int  # dimensions that cells are compared in
    size: int = 64  # pixels of a crop's side
    patch: int = 8  # pixels of a patch's side
    width: int = 96
    depth: int = 4
    heads: int = 4

    def setup(self) -> None:
        """Encoder, pooling and decoder."""
        tokens = (self.size // self.patch) ** 2
        self.enter = nn.Dense(self.width)
        self.place = self.param("place", nn.initializers.normal(0.02), (tokens, self.width))
        self.blocks = [Block(self.heads) for _ in range(self.depth)]
        self.norm = nn.LayerNorm(EPSILON)
        self.attend = nn.Dense(1)
        self.hidden, self.out = nn.Dense(self.width), nn.Dense(self.embedding)
        self.blank = self.param("blank", nn.initializers.normal(0.02), (self.width,))
        self.decode_place = self.param("decode_place", nn.initializers.normal(0.02), (tokens, self.width))
        self.decoder = Block(self.heads)
        self.paint = nn.Dense(self.patch**2 * self.channels)

    def patches(self, images: Float[Array, "b s s c"]) -> Float[Array, "b t p"]:
        """The pixels of each patch in a row."""
        cut = folded(images, self.patch)
        return cut.reshape(len(images), -1, cut.shape[-1])

    def __call__(
        self, images: Float[Array, "b s s c"], order: Int[Array, "b t"], *, shown: int
    ) -> tuple[Float[Array, "b t p"], Float[Array, "b e"]]:
        """Every patch as painted, and the embedding of each cell, from the first `shown` patches of `order`."""
        tokens = self.enter(self.patches(images)) + self.place
        kept: Array = jnp.take_along_axis(tokens, order[:, :shown, None], axis=1)
        for block in self.blocks:
            kept = block(kept)
        seen = self.norm(kept)
        blanks = jnp.broadcast_to(self.blank, (len(images), tokens.shape[1] - shown, self.width))
        back = jnp.argsort(order, axis=1)[..., None]
        whole = jnp.take_along_axis(jnp.concatenate([seen, blanks], 1), back, axis=1) + self.decode_place
        return self.paint(self.decoder(whole)), self.out(nn.relu(self.hidden(self._pooled(seen))))

    def encode(self, images: Float[Array, "b s s c"]) -> dict[str, Float[Array, "b d"]]:
        """The mean over the tokens after each block, and "pooled", that by attention; all patches are shown."""
        x, features = self.enter(self.patches(images)) + self.place, {}
        for number, block in enumerate(self.blocks, 1):
            x = block(x)
            features[f"block{number}"] = x.mean(1)
        return {**features, "pooled": self._pooled(self.norm(x))}

    def _pooled(self, tokens: Float[Array, "b t d"]) -> Float[Array, "b d"]:
        return (jax.nn.softmax(self.attend(tokens), axis=1) * tokens).sum(1)
