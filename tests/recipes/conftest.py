"""What several recipes learn from."""

import pytest

from hpax.recipes import datasets


@pytest.fixture(scope="session")
def split(atlases):
    """Simulated fields of 57 proteins, true masks: some of each class on every side."""
    atlas = datasets.Atlas(proteins=57, size=128)
    data = datasets.Data(masks="true", data_dir=atlases, atlas=atlas)
    return datasets.open_fields(data, seed=1)
