"""Flax modules: networks and the layers they are built of."""
