"""Who may import whom: only to the left, and never a neighbour between the same two `<`."""

import ast
import pathlib
import subprocess
import sys
import tokenize

import pytest

ROOT = pathlib.Path(__file__).parent.parent
LAYERS = """types, ahead, atlas, batching, files, processes, progress < images < fields < ops, simulate, formats
            < nn, metrics, segment < explore < data < task < tasks, train < features, predict < models
            < recipes, analysis < launch, report < commands < __main__"""
RANK = {name.strip(): rank for rank, layer in enumerate(LAYERS.split("<")) for name in layer.split(",")}
FILES = sorted((ROOT / "hpax").rglob("*.py"))
NUMPY_ONLY = {
    "ahead",
    "atlas",
    "batching",
    "files",
    "processes",
    "images",
    "fields",
    "simulate",
    "formats",
    "segment",
    "explore",
    "report",
}
"""Packages that compute without JAX, so that they start fast and run in any process."""

HOMES = {
    "orbax": "hpax/train/checkpoint.py",
    "tensorflow_datasets": "hpax/data/",
    "apache_beam": "hpax/data/shards.py",
    "tensorflow": "nobody",
    "torch": "nobody",
    "keras": "nobody",
    "experiments": "nobody",
}
"""Imported module → the one place that may import it."""


def imports(path, root=ROOT):
    """The dotted names that a file imports; `from hpax import atlas` is hpax.atlas, relative ones are resolved."""
    package = path.relative_to(root).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = [*package[: len(package) + 1 - node.level], node.module] if node.level else [node.module]
            base = ".".join(filter(None, base))
            yield from (f"{base}.{alias.name}" for alias in node.names) if base == "hpax" else (base,)


def package_of(path, root=ROOT):
    """The name that the layers know a file of hpax by; None for hpax/__init__.py."""
    parts = path.relative_to(root / "hpax").with_suffix("").parts
    return None if parts == ("__init__",) else parts[0]


def trespasses(path, root=ROOT):
    """Every import of a file that the rules forbid, as readable lines."""
    here, owner = path.relative_to(root).as_posix(), package_of(path, root)
    for name in imports(path, root):
        top, inner = name.split(".")[0], (name.split(".")[1:] or [""])[0]
        if top in HOMES and not here.startswith(HOMES[top]):
            yield f"{here} imports {name}, whose only home is {HOMES[top]}"
        if top == "jax" and owner in NUMPY_ONLY:
            yield f"{here} imports {name}, but {owner} computes without JAX"
        if top == "hpax" and owner == "train" and inner in ("nn", "data"):
            yield f"{here} imports {name}, but train knows no network and no dataset"
        if top == "hpax" and inner and inner not in RANK and not inner.startswith("__"):
            yield f"{here} imports {name}, a name for users; take it from its module"
        if top == "hpax" and inner in RANK and inner != owner and owner and RANK[inner] >= RANK.get(owner, -1):
            yield f"{here} imports {name}, which is not to its left"


def names(path):
    """Every identifier in a file's code; strings and comments are left out."""
    with tokenize.open(path) as source:
        return {token.string for token in tokenize.generate_tokens(source.readline) if token.type == tokenize.NAME}


def test_every_package_has_its_layer():
    assert {package_of(path) for path in FILES} - {None} <= set(RANK)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_go_to_the_left(path):
    assert list(trespasses(path)) == []


@pytest.mark.parametrize("path", sorted((ROOT / "experiments").glob("*.py")), ids=lambda path: path.name)
def test_experiments_are_thin_and_know_none_of_each_other(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 250
    assert [name for name in imports(path) if name.startswith("experiments")] == []


def test_only_parallel_knows_pmap():
    assert [path for path in FILES if "pmap" in names(path)] in ([], [ROOT / "hpax/train/parallel.py"])


@pytest.mark.parametrize(
    ("file", "line", "told"),
    [
        ("hpax/ops/crop.py", "from hpax import simulate", "not to its left"),
        ("hpax/ops/crop.py", "from ..nn.inpainter import Inpainter", "not to its left"),
        ("hpax/ops/crop.py", "def f():\n    import hpax.metrics.neighbours", "not to its left"),
        ("hpax/__init__.py", "from hpax.train import Run", None),  # test_api.py holds that it is quick and light
        ("hpax/ops/crop.py", "from hpax import Field", "a name for users"),
        ("hpax/train/loop.py", "from hpax.tasks import inpaint", "not to its left"),
        ("hpax/train/loop.py", "import hpax.nn", "no network"),
        ("hpax/train/loop.py", "import orbax.checkpoint", "only home"),
        ("hpax/simulate/stains.py", "from jax import numpy", "without JAX"),
        ("hpax/features/extract.py", "import experiments.quickstart", "only home"),
        ("hpax/features/extract.py", "import tensorflow as tf", "only home"),
        ("hpax/ops/crop.py", "from hpax import atlas\nfrom . import cam\nimport hpax.ops.cam, jax", None),
        ("hpax/train/checkpoint.py", "import orbax.checkpoint\nfrom hpax.task import Task", None),
        ("hpax/data/pairs.py", "import tensorflow_datasets as tfds", None),
    ],
)
def test_the_rules_catch_what_they_name(file, line, told, tmp_path):
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(line)
    found = list(trespasses(path, tmp_path))
    assert (told is None and not found) or (told and told in found[0])


def test_names_are_code_and_not_prose(tmp_path):
    path = tmp_path / "loop.py"
    path.write_text('"""Runs under pmap."""\nx = jax.vmap(f)  # not pmap\n')
    assert "pmap" not in names(path)
    path.write_text("x = jax.pmap(f)\n")
    assert "pmap" in names(path)


def test_importing_all_of_hpax_configures_nothing_and_starts_no_device():
    modules = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in FILES if path.stem != "__main__"]
    lines = [
        "import importlib, sys, jax",
        "before = dict(jax.config.values)",
        f"for name in {[name.removesuffix('.__init__') for name in modules]!r}: importlib.import_module(name)",
        "changed = {key: value for key, value in jax.config.values.items() if before.get(key, value) != value}",
        "assert not changed, f'an import changed the JAX configuration: {changed}'",
        "foreign = {'tensorflow', 'torch', 'keras'} & set(sys.modules)",
        "assert not foreign, f'an import brought in {foreign}'",
        "jax.config.update('jax_platforms', 'cpu')",
        "jax.config.update('jax_num_cpu_devices', 3)  # raises once a device has started",
        "assert len(jax.devices()) == 3",
    ]
    environment = {"PATH": "/usr/bin:/bin", "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-c", "\n".join(lines)]
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-3000:]
