"""What `--help` says before and after the options, alike for commands and experiments."""

import contextlib
import shutil
import textwrap
from collections.abc import Iterator, Sequence


@contextlib.contextmanager
def framed(arguments: Sequence[str], example: str, outputs: str) -> Iterator[None]:
    """What a parser prints for `--help`, between an example and where the outputs go."""
    asked = bool({"-h", "--help"} & set(arguments))
    if asked:
        print(f"for example: {' '.join(example.split())}\n")
    try:
        yield
    except SystemExit as end:
        if asked and not end.code:
            print(f"\n{wrapped(outputs)}")
        raise


def wrapped(text: str) -> str:
    """Paragraphs that fit the terminal."""
    width = min(shutil.get_terminal_size().columns, 100)
    return "\n\n".join(textwrap.fill(paragraph, width) for paragraph in text.split("\n\n"))
