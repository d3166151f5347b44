"""The memory of `hpax segment`, of one large field and of many small ones, stays below what README states."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from hpax import atlas, simulate

GIB = 2**20  # of the kilobytes that the system counts in
MEASURED = """
import resource, subprocess, sys
done = subprocess.run([sys.executable, "-m", "hpax", "segment", *sys.argv[1:]], stdout=subprocess.DEVNULL)
print(done.returncode, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def write(folder: pathlib.Path, fields: int, side: int, repeats: int) -> None:
    """Fields of `repeats` × `repeats` copies of a simulated one of `side` pixels, turned and mirrored from field to
    field, with noise.
    """
    folder.mkdir()
    field = simulate.field(simulate.proteome(proteins=1, seed=0)[0], "U-2 OS", 0, seed=0, size=side, um_per_pixel=0.16)
    rng = np.random.default_rng(0)
    for number in range(fields):
        image = np.tile(np.rot90(field.image, number % 4), (repeats, repeats, 1))
        for channel, plane in zip(atlas.CHANNELS, np.moveaxis(image, -1, 0), strict=True):
            noisy = np.clip(plane + rng.integers(0, 4, plane.shape), 0, 255).astype(np.uint8)
            Image.fromarray(noisy).save(folder / f"f{number:03}_{atlas.COLOURS[channel]}.png", compress_level=1)


def peak(folder: pathlib.Path, workdir: pathlib.Path, *options: str) -> float:
    """GiB that the largest process of `hpax segment` took."""
    command = ["--fields", str(folder), "--workdir", str(workdir), "--um-per-pixel", "0.16", *options]
    done = subprocess.run([sys.executable, "-c", MEASURED, *command], capture_output=True, text=True, check=True)
    status, kilobytes = map(int, done.stdout.split())
    assert status == 0, done.stderr[-2000:]
    assert (workdir / "cells.csv").read_text().count("\n") > 20
    return kilobytes / GIB


@pytest.mark.slow
def test_one_field_of_6144_pixels_is_segmented_in_4_gib(tmp_path):
    write(tmp_path / "fields", fields=1, side=1024, repeats=6)
    used = peak(tmp_path / "fields", tmp_path / "run")
    print(f"one field of 6144²: {used:.2f} GiB")
    assert used < 4


@pytest.mark.slow
def test_200_fields_of_512_pixels_take_hardly_more_than_20(tmp_path):
    used = {}
    for fields in (20, 200):
        write(tmp_path / f"fields{fields}", fields=fields, side=512, repeats=1)
        used[fields] = peak(tmp_path / f"fields{fields}", tmp_path / f"run{fields}")
    print(f"fields of 512²: {used}")
    assert used[200] < used[20] + 0.25
    assert used[200] < 2
