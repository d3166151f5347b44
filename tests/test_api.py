"""The public face: documented, typed, small, and quick to import."""

import ast
import pathlib
import re
import statistics
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PACKAGE = [path for folder in ("hpax", "experiments") for path in sorted((ROOT / folder).rglob("*.py"))]
FILES = [*PACKAGE, *sorted((ROOT / "tests").rglob("*.py"))]
SHAPELESS = re.compile(r"(^|_)(utils?|helpers?|misc|common)($|_)")
Function = ast.FunctionDef | ast.AsyncFunctionDef


def parsed(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def label(path):
    return path.relative_to(ROOT).as_posix()


def public(tree):
    """A module's public functions and classes, and the public methods of those classes."""
    for node in tree.body:
        if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_"):
            yield node
            yield from public(node) if isinstance(node, ast.ClassDef) else ()


def functions(tree):
    """Every function of a module that is not a lambda, nested ones included."""
    return [node for node in ast.walk(tree) if isinstance(node, Function)]


def bare(function):
    """The parts of a function's signature that lack a type."""
    spec = function.args
    arguments = [*spec.posonlyargs, *spec.args, *spec.kwonlyargs, *filter(None, (spec.vararg, spec.kwarg))]
    untyped = [
        argument.arg for argument in arguments if not argument.annotation and argument.arg not in ("self", "cls")
    ]
    return untyped + ([] if function.returns else ["return"])


def lines(function):
    return function.end_lineno - function.lineno + 1


@pytest.mark.parametrize("path", PACKAGE, ids=label)
def test_everything_public_says_what_it_is(path):
    tree = parsed(path)
    silent = [node.name for node in public(tree) if not ast.get_docstring(node)]
    assert silent == []
    assert ast.get_docstring(tree) or not tree.body, "the module has no docstring"


@pytest.mark.parametrize("path", PACKAGE, ids=label)
def test_every_public_signature_has_its_types(path):
    signatures = [node for node in public(parsed(path)) if isinstance(node, Function)]
    untyped = {function.name: bare(function) for function in signatures if bare(function)}
    assert untyped == {}


@pytest.mark.parametrize("path", FILES, ids=label)
def test_files_and_functions_fit_their_size(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 500
    long = {function.name: lines(function) for function in functions(parsed(path)) if lines(function) > 60}
    assert long == {}


def test_the_median_function_fits_a_glance():
    sizes = [lines(function) for path in PACKAGE for function in functions(parsed(path))]
    assert statistics.median(sizes) < 12


@pytest.mark.parametrize("path", FILES, ids=label)
def test_names_say_what_is_inside(path):
    assert not [part for part in path.relative_to(ROOT).with_suffix("").parts if SHAPELESS.search(part)]


def test_the_checks_see_what_they_look_for():
    tree = ast.parse("class A:\n  def f(self, x, *, y: int): ...\n  def _g(self) -> None: ...\ndef _h(): ...")
    assert [node.name for node in public(tree)] == ["A", "f"]
    assert {function.name: bare(function) for function in functions(tree)} == {
        "f": ["x", "return"],
        "_g": [],
        "_h": ["return"],
    }
    assert [lines(function) for function in functions(ast.parse("@a\ndef f():\n  x\n  y"))] == [3]
    assert [bool(SHAPELESS.search(name)) for name in ("utils", "image_utils", "helper", "utilise", "commons")] == [
        True
    ] * 3 + [False] * 2


def test_importing_hpax_is_quick_and_light():
    code = "import sys, time; t = time.perf_counter(); import hpax; print(time.perf_counter() - t); print(*sys.modules)"
    seconds, modules = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert not {"jax", "flax", "numpy", "scipy", "tensorflow_datasets"} & set(modules.split())
    assert float(seconds) < 0.5
