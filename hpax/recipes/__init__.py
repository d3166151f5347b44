"""Recipes: data, a task and training put together into a model, as `Config`, `build` and `train`."""
