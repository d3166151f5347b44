"""The experiment that compares simulated with real fields: its statistics against known answers, and its main."""

import csv
import json

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from experiments import simulate_atlas
from hpax import atlas
from hpax.data import read_folder
from hpax.explore import atlas_sheets
from hpax.metrics import field_statistics


def disks(count: int, radius: float) -> np.ndarray:
    """A 512² nuclear channel of `count` bright disks on a grid, and one cut by the border."""
    rows, columns = np.indices((512, 512))
    plane = np.full((512, 512), 20.0)
    for k in range(count):
        plane[np.hypot(rows - 80 - 110 * (k // 4), columns - 80 - 110 * (k % 4)) < radius] = 200
    plane[np.hypot(rows, columns - 256) < radius] = 200
    return np.clip(plane + np.random.default_rng(0).normal(0, 15, plane.shape), 0, 255).astype(np.uint8)


def test_nuclei_are_found_with_their_areas_and_the_cut_one_is_counted_only():
    areas, count = field_statistics.nuclei(field_statistics.nuclei_mask(disks(9, 22)))
    assert count == 10
    assert areas == pytest.approx([np.pi * (22 * 0.32) ** 2] * 9, rel=0.15)  # the wide blur adds a rim


def test_a_flat_field_has_no_nuclei_and_no_spectrum():
    areas, count = field_statistics.nuclei(field_statistics.nuclei_mask(np.zeros((512, 512), np.uint8)))
    assert (areas, count) == ([], 0)
    assert all(np.isnan(value) for value in field_statistics.spectrum(np.zeros((512, 512), np.uint8)).values())


def test_the_contrast_of_nuclei_is_that_of_what_was_painted():
    mask = np.zeros((128, 128), bool)
    mask[40:80, 40:80] = True
    plane = np.where(mask, 90, 30).astype(np.uint8)
    plane[:20] = 255  # far from any nucleus
    assert field_statistics.contrast(plane, mask) == pytest.approx((90 - 30) / (90 + 30))
    assert np.isnan(field_statistics.contrast(np.zeros_like(plane), mask))
    assert np.isnan(field_statistics.contrast(plane, np.zeros_like(mask)))


@pytest.mark.parametrize("exponent", [-1.0, -2.5])
def test_the_spectral_slope_of_coloured_noise_is_its_exponent(exponent):
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(256), np.fft.fftfreq(256)))
    frequency[0, 0] = 1
    white = np.fft.fft2(np.random.default_rng(0).standard_normal((256, 256)))
    noise = np.fft.ifft2(white * frequency ** (exponent / 2)).real
    plane = np.clip(128 + 35 * noise / noise.std(), 0, 255)
    assert field_statistics.spectrum(plane)["spectral slope"] == pytest.approx(exponent, abs=0.15)


def test_a_grating_has_its_power_in_its_band():
    position = np.arange(512) * 0.32
    for name, frequency in (("coarse", 0.06), ("middle", 0.3), ("fine", 1.0)):
        plane = 100 + 80 * np.cos(2 * np.pi * frequency * position)[None, :] * np.ones((512, 1))
        assert field_statistics.spectrum(plane)[f"{name} power"] > 0.9


def test_white_noise_has_power_in_proportion_to_the_area_of_the_band():
    plane = np.random.default_rng(0).uniform(0, 255, (512, 512))
    found = field_statistics.spectrum(plane)
    share = (1.5**2 - 0.5**2) / (0.5**2 - 0.1**2)
    assert found["fine power"] / found["middle power"] == pytest.approx(share, rel=0.05)


def test_a_median_outside_the_spread_is_said_so():
    real = [{"x": float(v), "y": float(v)} for v in range(101)]
    rows = field_statistics.compare([{"x": 50.0, "y": 120.0}], real)
    assert [row["within"] for row in rows] == [True, False]
    assert rows[0]["5%"] == 5
    assert rows[0]["95%"] == 95


def test_without_real_fields_only_the_simulated_side_is_compared():
    assert field_statistics.compare([{"x": 1.0}, {"x": 2.0}, {"x": 6.0}], []) == [{"statistic": "x", "simulated": 2.0}]


def test_real_fields_at_native_size_are_averaged_down(tmp_path):
    for colour in atlas.COLOURS.values():
        pixels = np.zeros((1728, 1728), np.uint8)
        pixels[::2] = 200
        Image.fromarray(pixels).save(tmp_path / f"a_{colour}.png")
    (picture,) = (atlas_sheets.reduced(field.image, field.um_per_pixel) for field in read_folder(tmp_path))
    assert picture.shape == (432, 432, 4)
    assert (picture == 100).all()


@pytest.mark.slow
def test_main_writes_the_sheets_and_the_table(tmp_path):
    folder = tmp_path / "real"
    folder.mkdir()
    noise = np.random.default_rng(0)
    for field in "ab":
        for colour in atlas.COLOURS.values():
            blobs = ndimage.gaussian_filter(noise.standard_normal((512, 512)), 12)
            Image.fromarray(np.clip(2500 * blobs, 0, 255).astype(np.uint8)).save(folder / f"{field}_{colour}.png")
    command = ["--workdir", str(tmp_path / "out"), "--simulated", "2", "--cells", "1", "--fields", str(folder)]
    assert simulate_atlas.main(command) == 0
    out = tmp_path / "out" / "default" / "seed0"
    for name in ("patterns.jpg", "fields.jpg", "simulated_against_real.jpg"):
        with Image.open(out / name) as image:
            assert np.asarray(image).std() > 10
    with (out / "statistics.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    result = json.loads((out / "result.json").read_text())
    assert len(rows) == len(result["metrics"]) - 1
    assert result["counts"] == {"simulated fields": 2, "real fields": 2}


@pytest.mark.real
@pytest.mark.slow
def test_simulated_medians_lie_within_the_spread_of_real_fields(real_data):
    pictures = (
        atlas_sheets.reduced(field.image, field.um_per_pixel) for field in read_folder(real_data / "hpa_fields")
    )
    real = [field_statistics.field_statistics(picture) for picture in pictures]
    simulated = [field_statistics.field_statistics(p) for p in atlas_sheets.simulated_fields(1, 24)]
    outside = [row["statistic"] for row in field_statistics.compare(simulated, real) if not row["within"]]
    assert outside == []
