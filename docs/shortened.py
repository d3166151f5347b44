"""What makes the tutorials short enough for tests and notebooks: smaller fields, fewer steps, fewer views."""

SMALLER = {
    "hpax simulate": "--size 256",
    "hpax train combine": "--field.optimizer.steps 2 --cell.optimizer.steps 2 --um-per-pixel 0.32",
    "hpax train inpaint": "--recipe.optimizer.steps 2 --recipe.network.width 0.1 --um-per-pixel 0.32",
    "hpax segment": "--um-per-pixel 0.32",
    "hpax label": "--um-per-pixel 0.32 --tta 1",
    "hpax embed": "--um-per-pixel 0.32",
}
"""Command → options that make it short; fields of 256 pixels are not of a size that tells µm per pixel."""

TWO_STEPS = "optimizer=Optimizer(steps=2, batch_size=8)"
SHORTER = {
    'pathlib.Path("FIELDS")': 'pathlib.Path("FIELDS"), um_per_pixel=0.32',
    'read_folder("FIELDS"': 'read_folder("FIELDS", um_per_pixel=0.32',
    "localize.Config()": f"localize.Config(um_per_pixel=1.28, window=32, tta=1, {TWO_STEPS})",
    "classify.Config()": f"classify.Config(resolution=32, tta=1, {TWO_STEPS})",
    "steps=200": "steps=60",
    "import hpax\n": "import hpax\nfrom hpax.recipes.configs import Optimizer\n",
}


def command(line: str) -> str:
    """A line of a shell with the options that make it short."""
    for start, more in SMALLER.items():
        if line.startswith(start):
            return f"{line} {more}"
    return line


def python(code: str) -> str:
    """A block of Python with shorter settings."""
    for long, short in SHORTER.items():
        code = code.replace(long, short)
    return code
