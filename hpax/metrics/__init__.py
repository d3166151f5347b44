"""Metrics whose names fix their meaning."""
