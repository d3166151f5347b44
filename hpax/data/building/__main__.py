"""The command line: `python -m hpax.data.building NAME --data-dir DIR [--source FOLDER] [options]`.

`python -m hpax.data.building NAME --help` lists the options of a data set. FLAGS are those of an
Apache Beam pipeline in one argument: `--beam "--runner=FlinkRunner --flink_master=HOST:8081"`.
"""

import dataclasses
import importlib
import pathlib
import shlex
import sys
from collections.abc import Sequence
from typing import Any

import tensorflow_datasets as tfds
import tyro

from hpax.data.building import DATA_SETS, build


def command(name: str) -> type:
    """A dataclass of everything that `build` takes for the data set `name`, for tyro to parse."""
    config = importlib.import_module(f"hpax.data.{name}").Config
    hidden = {field.name for field in dataclasses.fields(tfds.core.BuilderConfig)} | {"fingerprint"}
    options: list[Any] = [(f.name, f.type, f.default) for f in dataclasses.fields(config) if f.name not in hidden]
    general: list[Any] = [
        ("data_dir", pathlib.Path),
        ("source", pathlib.Path | None, None),
        ("workers", int, 1),
        ("beam", str | None, None),
    ]
    return dataclasses.make_dataclass(name, general + options, namespace={"__doc__": config.__doc__})


def main(arguments: Sequence[str] | None = None) -> None:
    """Builds what the arguments say, shows its progress, and prints what it holds."""
    name, *rest = list(sys.argv[1:] if arguments is None else arguments) or [""]
    if name not in DATA_SETS:
        sys.exit(f"usage: python -m hpax.data.building {{{','.join(DATA_SETS)}}} --data-dir DIR [options]")
    try:
        failed = run(name, rest, prog=f"python -m hpax.data.building {name}")
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f"{name} was not built: {error}")
    if failed:
        sys.exit(1)


def run(name: str, arguments: Sequence[str], *, prog: str) -> dict[str, str]:
    """As `main`, of a data set that there is; returns what could not be read and why; what else is wrong raises."""
    options: Any = tyro.cli(command(name), args=arguments, prog=prog)
    flags = None if options.beam is None else shlex.split(options.beam)
    source = build(name, progress=True, **vars(options) | {"beam": flags})
    parts = ", ".join(f"{split} {source.info.splits[split].num_examples}" for split in source.splits)
    print(f"{source.info.full_name}: {len(source)} examples ({parts}) in {source.info.data_dir}")
    for id, reason in source.failures.items():
        print(f"failed: {id}: {reason}", file=sys.stderr)
    return source.failures


if __name__ == "__main__":
    main()
