"""The wheel, installed outside of the checkout: what ships is enough to simulate, label, score and embed."""

import pathlib
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile

import pytest

import hpax

ROOT = pathlib.Path(hpax.__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from what an sdist holds."""
    folder = tmp_path_factory.mktemp("dist")
    source = folder / "source"
    left = shutil.ignore_patterns(".*", "runs", "build", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, source, ignore=left)
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(source)]
    subprocess.run(build, check=True, capture_output=True)
    assert list(folder.glob("*.tar.gz"))
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def run(wheel, tmp_path_factory):
    """A command in an environment that has the wheel, and this one's libraries, but not the checkout."""
    place = tmp_path_factory.mktemp("outside")
    venv.create(place / "env", with_pip=False)
    packages = next((place / "env" / "lib").glob("python*")) / "site-packages"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")  # nested .pth files are not read

    def call(*arguments):
        python = place / "env" / "bin" / "python"
        done = subprocess.run([python, "-m", *arguments], cwd=place, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return call, place


@pytest.mark.slow
def test_a_wheel_is_whole(run):
    call, place = run
    assert "usage: hpax COMMAND" in call("hpax", "--help")
    where = call("hpax", "--version")
    assert f"hpax {hpax.__version__}" in where
    assert "for example" in call("experiments.quickstart", "--help")
    call("hpax", "simulate", "--fields", "F", "--count", "1", "--size", "256")
    call("hpax", "label", "--fields", "F", "--workdir", "L", "--um-per-pixel", "0.32", "--tta", "1")
    call("hpax", "score", "--truth", "F/truth.csv", "--submission", "L/submission.csv", "--workdir", "S")
    call("hpax", "embed", "--encoder", "encode-cells", "--fields", "F", "--masks", "L/cells", "--workdir", "E")
    for left in ("L/index.html", "L/cells.h5ad", "S/result.json", "E/features.h5ad"):
        assert (place / left).is_file()
    with zipfile.ZipFile(next(place.parent.glob("dist*/*.whl"))) as archive:
        names = archive.namelist()
    assert not [name for name in names if name.startswith(("tests/", "docs/", "results/"))]
    assert any(name.endswith("licenses/LICENSE") for name in names)
