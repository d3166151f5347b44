"""Arrays and texts as a page's script reads them: compressed bytes in base64, a tenth of the JSON to load and parse."""

import base64
import json
import zlib
from typing import Any

import numpy as np
from jaxtyping import Shaped

TYPES = ("uint8", "uint16", "int32", "float32", "float64")
"""Of numbers; each has an array of its own in JavaScript."""

LEVEL = 6  # of compression


def numbers(values: Shaped[np.ndarray, "*shape"]) -> dict[str, str]:
    """An array as little-endian bytes, row by row; the script gets it flat.

    Raises:
        ValueError: a dtype that is not in TYPES.
    """
    if values.dtype.name not in TYPES:
        raise ValueError(f"packed numbers must be of {', '.join(TYPES)}, got {values.dtype.name}; use astype")
    little = np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<"), copy=False)
    return {"packed": _encoded(little.tobytes()), "type": values.dtype.name}


def indices(values: Shaped[np.ndarray, " n"]) -> dict[str, str]:
    """Whole numbers from 0 on in the smallest type that holds them."""
    most = int(values.max(initial=0))
    return numbers(values.astype("uint8" if most < 256 else "uint16" if most < 65536 else "int32"))


def measures(values: Shaped[np.ndarray, " n"]) -> dict[str, str]:
    """Numbers of which a reader is shown four decimals, in single precision where that is enough; NaN is unknown."""
    exact = np.where(np.isfinite(values), values, np.nan).astype(np.float64)
    single = exact.astype(np.float32)
    close = np.allclose(single.astype(np.float64), exact, rtol=0, atol=5e-5, equal_nan=True)
    return numbers(single if close else exact)


def texts(value: Any) -> dict[str, str]:
    """Anything that JSON holds, such as a long list of ids."""
    return {"packed": _encoded(json.dumps(value, separators=(",", ":")).encode()), "type": "json"}


def unpacked(value: Any) -> Any:
    """What the script makes of it: arrays, texts, and all that is in lists and mappings."""
    if isinstance(value, list):
        return [unpacked(each) for each in value]
    if not isinstance(value, dict):
        return value
    if value.keys() != {"packed", "type"}:
        return {name: unpacked(each) for name, each in value.items()}
    raw = zlib.decompress(base64.b64decode(value["packed"]))
    return json.loads(raw) if value["type"] == "json" else np.frombuffer(raw, np.dtype(value["type"]).newbyteorder("<"))


def _encoded(raw: bytes) -> str:
    return base64.b64encode(zlib.compress(raw, LEVEL)).decode("ascii")
