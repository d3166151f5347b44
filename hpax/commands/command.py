"""What all commands share: one style of help, of errors, and of exit codes."""

import dataclasses
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import tyro

from hpax import files, processes
from hpax.launch.manual import framed

SHOW = "--show-config"
"""Of every command: print the config that it would work by as JSON, and do nothing."""

OK, SOME_FAILED, NOTHING_DONE, STOPPED = 0, 1, 2, 130
"""Exit codes. Nothing done: the request itself was wrong, and a changed one may do."""


@dataclasses.dataclass(frozen=True)
class Call:
    """How a command was called, for records."""

    command: tuple[str, ...]  # such as ("hpax", "segment")
    about: str
    arguments: tuple[str, ...]


Work = Callable[[Any, Call], Mapping[str, str]]
"""Does what a config says; returns what failed, and why."""


@dataclasses.dataclass(frozen=True)
class Command:
    """A command: `hpax NAME`.

    Its docstring has three parts: a line that says what it does, an indented example, and where the outputs go.
    """

    name: str
    doc: str
    config: type
    work: Work

    @processes.pipeable()
    def main(
        self, argv: Sequence[str] | None = None, *, command: Sequence[str] | None = None, config: type | None = None
    ) -> int:
        """Runs it; where it goes by another name or has other defaults, `command` and `config` say so.

        The exit status is 0 if all went well, 1 if some of it failed, 2 if nothing was done, and 130 after Ctrl-C.
        """
        arguments = tuple(sys.argv[1:] if argv is None else argv)
        name = tuple(command or ("hpax", self.name))
        about, example, outputs = parts(self.doc)
        asked = [argument for argument in arguments if argument != SHOW]
        options = parse(config or self.config, asked, name=name, about=about, example=example, outputs=outputs)
        if SHOW in arguments:
            print(json.dumps(files.as_json(options), indent=1))
            return OK
        try:
            with processes.interruptible():
                failures = self.work(options, Call(name, about, arguments))
        except (ValueError, OSError, BrokenProcessPool) as error:
            if processes.unread(error):
                raise
            print(f"error: {error}", file=sys.stderr)
            return NOTHING_DONE
        except KeyboardInterrupt:
            print("stopped; the same command goes on from here", file=sys.stderr)
            return STOPPED
        for what, reason in sorted(failures.items()):
            print(f"failed: {what}: {reason}", file=sys.stderr)
        return SOME_FAILED if failures else OK


def parts(doc: str) -> tuple[str, str, str]:
    """What a command does, its example, and where its outputs go, each in one line or paragraph."""
    about, example, outputs = doc.strip().split("\n\n", 2)
    lines = [" ".join(paragraph.split()) for paragraph in outputs.split("\n\n")]
    return " ".join(about.split()), example.strip(), "\n\n".join(lines)


def parse(
    config: type, arguments: Sequence[str], *, name: Sequence[str], about: str, example: str, outputs: str
) -> Any:
    """The config of a command line."""
    with framed(arguments, example, outputs):
        return tyro.cli(config, prog=" ".join(name), description=about, args=list(arguments))
