"""What commands read of a folder: full scale and pixel size of the set; a digest covers both pixels and scale."""

import numpy as np
import tifffile
from PIL import Image

from hpax.commands import folder
from hpax.data.hpa_fields import dummy


def deepen(path, factor, **options):
    for picture in path.rglob("*.png"):
        pixels = np.asarray(Image.open(picture)).astype(np.uint16) * factor
        tifffile.imwrite(picture.with_suffix(".tif"), pixels, **options)
        picture.unlink()


def known(path, cache, bits=0):
    """The fields of a folder as commands take them, with the full scale of the set."""
    found, faults = folder.survey(path)
    assert not faults
    return folder.scaled(found, bits, cache)


def test_twelve_bits_and_a_stated_size_are_what_commands_see(tmp_path):
    dummy.write(tmp_path / "fields", kaggle=2, proteinatlas=0, size=64)
    (eight, _) = known(tmp_path / "fields", tmp_path / "eight.json")
    before = eight.loader(0.0)().image
    deepen(tmp_path / "fields", 16, resolution=(1e4 / 0.32, 1e4 / 0.32), resolutionunit="CENTIMETER")
    (first, second) = known(tmp_path / "fields", tmp_path / "twelve.json")
    field = first.loader(0.0)()
    assert abs(field.um_per_pixel - 0.32) < 1e-6
    assert np.abs(field.image // 257 - before.astype(int)).max() <= 2
    assert second.loader(0.5)().um_per_pixel == 0.5


def test_the_digest_covers_the_full_scale(tmp_path):
    dummy.write(tmp_path / "fields", kaggle=1, proteinatlas=0, size=64)
    deepen(tmp_path / "fields", 16)
    told: list[tuple[str, list]] = []
    for bits in (0, 12, 14):
        (field,) = known(tmp_path / "fields", tmp_path / "scale.json", bits)
        digest = folder.content(field, {})
        record = {"digest": digest, "stamp": folder.state(field)}
        assert folder.content(field, record) == digest
        for before, stamp in told:
            if before != digest:
                assert folder.content(field, {"digest": before, "stamp": stamp}) == digest
        told.append((digest, folder.state(field)))
    assert told[2][0] != told[1][0]
