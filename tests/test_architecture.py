"""The arrows of the architecture: what may import what, read from the source."""

import ast
from pathlib import Path

import pytest

import keras_duo as duo

ROOT = Path(duo.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))

# Each layer may import those before it, and none of its siblings.
LAYERS = (
    {"_version", "_register", "_validate", "_serialize", "_labels", "_gradients", "_clusters"},
    {"_products"},
    {"weightings"},
    {"activations", "losses"},
    {"layers", "metrics", "models"},
    {"_fits", "_label_pairs", "_pair_table", "pairs"},
    {"_activation_sites", "_activation_statistics", "_loss_forms"} | {"check", "monitor", "plots"},
)
# An optional dependency, and the module that may need it.
OPTIONAL = {
    "matplotlib": {"plots"},
    "PIL": {"models"},
    "tensorflow": {
        "_clusters",
        "_gradients",
        "activations",
        "check",
        "losses",
        "models",
        "monitor",
        "weightings",
    },
}


def imports_of(path):
    """The absolute names that a module imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def part_of(path):
    relative = path.relative_to(ROOT)
    return relative.parts[0].removesuffix(".py")


def rank(part):
    return next(i for i, names in enumerate(LAYERS) if part in names)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_follow_the_arrows(path):
    part = part_of(path)
    for name in imports_of(path):
        assert not name.startswith("keras.src"), f"{path} imports the private {name}"
        package, _, rest = name.partition(".")
        if package in OPTIONAL:
            assert part in OPTIONAL[package], f"{path} imports {package}"
        if package != "keras_duo" or part in ("__init__", "__main__"):
            continue
        imported = rest.split(".")[0]
        if imported != part:
            assert rank(imported) < rank(part) or (
                imported.startswith("_") and rank(imported) <= rank(part)
            ), f"{path} imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_fits_in_one_sitting(path):
    assert len(path.read_text().splitlines()) <= 340, f"{path} is more than one family"
    assert not {"utils", "helpers", "common", "manager"} & set(path.with_suffix("").parts)


def test_the_namespaces_hold_the_same_objects():
    for namespace in (duo.activations, duo.layers, duo.losses, duo.metrics, duo.models):
        for name in namespace.__all__:
            assert getattr(duo, name) is getattr(namespace, name)
            assert name in duo.__all__


def test_everything_public_is_documented():
    for name in duo.__all__:
        value = getattr(duo, name)
        if callable(value):
            assert value.__doc__, name
            assert len(value.__doc__.splitlines()) > 3, f"{name} has no more than a headline"
