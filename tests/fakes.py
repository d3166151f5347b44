"""Small things drawn by code that stand in for big ones."""

import dataclasses
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from hpax.fields import Field, Masks
from hpax.nn.norm import BatchNorm

FEATURES = 5


@dataclasses.dataclass(frozen=True)
class Regression:
    """A linear task with a running mean as model state: the smallest thing that can be trained."""

    noise: float = 0.0

    def init(self, key, batch):
        return {"w": jax.random.normal(key, (FEATURES,))}, {"mean": jnp.zeros(())}

    def loss(self, params, model_state, batch, *, key):
        error = jnp.square(batch["x"] @ params["w"] - batch["y"])
        error = error + self.noise * jax.random.normal(key, error.shape) * params["w"].sum()
        return error, {"mean": 0.9 * model_state["mean"] + 0.1 * params["w"].mean()}

    def evaluate(self, params, model_state, batch):
        error = batch["x"] @ params["w"] - batch["y"]
        return {"loss": jnp.square(error), "bias": error}

    def predict(self, params, model_state, x):
        return x @ params["w"]

    def encode(self, params, model_state, images):
        return {"terms": images * params["w"]}


@dataclasses.dataclass(frozen=True)
class Numbers:
    """Endless batches for `Regression`, each a function of (seed, step); the last `padding` rows are nonsense."""

    size: int = 16
    padding: int = 0
    seed: int = 0
    part: int = 0  # of the processes that share a batch
    parts: int = 1

    def __getitem__(self, step: int) -> dict[str, np.ndarray]:
        generator = np.random.default_rng((self.seed, step))
        x = generator.normal(size=(self.size, FEATURES)).astype(np.float32)
        y = x @ np.arange(FEATURES, dtype=np.float32)
        mask = np.ones(self.size, np.float32)
        if self.padding:
            x[-self.padding :], mask[-self.padding :] = 1e3, 0
        batch = {"x": x, "y": y, "mask": mask}
        return {name: np.split(value, self.parts)[self.part] for name, value in batch.items()}

    def iterate(self, start: int) -> Iterator[dict[str, np.ndarray]]:
        while True:
            yield self[start]
            start += 1


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Endless pairs of noise cells for `PairedInpainting`; the last `padding` rows repeat the first, masked out."""

    size: int = 16
    padding: int = 0
    side: int = 8  # pixels
    channels: int = 3

    def __getitem__(self, step: int) -> dict[str, np.ndarray]:
        shape = (self.size, self.side, self.side, self.channels)
        source, target = np.random.default_rng((1, step)).random((2, *shape), dtype=np.float32)
        mask = np.ones(self.size, np.float32)
        if self.padding:
            source[-self.padding :], target[-self.padding :], mask[-self.padding :] = source[0], target[0], 0
        return {"source": source, "target": target, "mask": mask}

    def iterate(self, start: int) -> Iterator[dict[str, np.ndarray]]:
        while True:
            yield self[start]
            start += 1


class Fields:
    """A source of oblong noisy fields, of 0 to 6 cells each; a cell is a rectangle without one corner."""

    LABELS, UM = 3, 0.5  # µm per pixel

    def __init__(self, n: int = 7, seed: int = 0):
        rng = np.random.default_rng((seed, 5))
        self.labels = rng.integers(0, 2, (n, self.LABELS)).astype(np.uint8)
        self.examples = [self._field(rng, number) for number in range(n)]

    def _field(self, rng: np.random.Generator, number: int) -> Field:
        height, width = rng.integers(40, 70, 2)
        cells, places = np.zeros((height, width), np.uint16), rng.permutation(6)[: number % 7]
        for index, place in enumerate(places, 1):
            top, left = 2 + 20 * (place // 3), 1 + 13 * (place % 3)
            cells[top : top + rng.integers(8, 16), left : left + rng.integers(6, 12)] = 3 * index
            cells[top : top + 4, left : left + 3] = 0
        nuclei = np.where(rng.random(cells.shape) < 0.5, cells, 0).astype(np.uint16)
        image = rng.integers(1, 40, (height, width, 4)) + 20 * (cells[..., None] // 3)
        labels = self.labels[number]
        masks = Masks(cells, nuclei)
        return Field(f"field{number}", image.astype(np.uint8), self.UM, labels, masks=masks, truth=masks)

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> Field:
        return self.examples[index]


class Backbone(nn.Module):
    """One layer of `width` features: the smallest thing that is called as a backbone is."""

    width: int = 6
    axis_name: str | None = None
    stride = 4

    @nn.compact
    def __call__(self, images, *, mask=None, train=False):
        x = nn.Conv(self.width, (3, 3), strides=self.stride)(images)
        return nn.relu(BatchNorm(self.axis_name, momentum=0.8)(x, mask=mask, train=train))


def _numbers_at(take, draw):
    return {**take(draw["index"]), "mask": draw["mask"]}


@dataclasses.dataclass(frozen=True)
class ResidentNumbers:
    """Endless batches for `Regression` of rows that devices hold; the last `padding` rows of a batch do not count."""

    n: int = 37
    size: int = 16
    padding: int = 0
    part: int = 0  # of the processes that share a batch
    parts: int = 1
    materialise = staticmethod(_numbers_at)

    def examples(self, first: int, last: int) -> dict[str, np.ndarray]:
        x = np.random.default_rng(7).normal(size=(self.n, FEATURES)).astype(np.float32)[first:last]
        return {"x": x, "y": x @ np.arange(FEATURES, dtype=np.float32)}

    def draw(self, step: int) -> dict[str, np.ndarray]:
        index = np.random.default_rng((2, step)).integers(0, self.n, self.size).astype(np.int32)
        mask = (np.arange(self.size) < self.size - self.padding).astype(np.float32)
        return {name: np.split(value, self.parts)[self.part] for name, value in {"index": index, "mask": mask}.items()}

    def draws(self, start: int) -> Iterator[dict[str, np.ndarray]]:
        while True:
            yield self.draw(start)
            start += 1

    def __getitem__(self, step: int) -> dict[str, np.ndarray]:
        everything = self.examples(0, self.n)
        return _numbers_at(lambda rows: {name: value[rows] for name, value in everything.items()}, self.draw(step))

    def iterate(self, start: int) -> Iterator[dict[str, np.ndarray]]:
        while True:
            yield self[start]
            start += 1
