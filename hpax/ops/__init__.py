"""Pure functions of arrays, jitted or vmapped by their callers."""
