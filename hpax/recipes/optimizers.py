"""How parameters move: the optimisers of the recipes, and how long they train."""

from hpax.recipes.configs import Adam, Optimizer

__all__ = ["Adam", "Optimizer"]
