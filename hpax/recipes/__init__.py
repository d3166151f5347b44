"""Recipes: where data, a task and training meet. Each has a Config, `build` → a run, and `train` → a model."""
