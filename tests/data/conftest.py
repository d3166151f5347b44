"""A small data set on disk that several test files read."""

import pytest

from hpax.data import Source, build
from hpax.data.cell_crops import dummy

IMAGES = {"ABC1_1_A1": 6, "ABC1_2_A2": 5, "DEF2_3_B1": 7, "GHI3_4_B2": 5, "AAAS_5_C1": 9, "TP53_6_C2": 5}


@pytest.fixture(scope="session")
def crops(tmp_path_factory) -> Source:
    """37 human cells of six images and five proteins, 16 pixels wide."""
    folder = tmp_path_factory.mktemp("crops")
    dummy.write(folder / "source", "human", IMAGES, size=16)
    return build("cell_crops", folder / "built", source=folder / "source", size=16)
