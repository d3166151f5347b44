"""`python -m hpax` is the command `hpax`."""

from hpax.commands.main import main

if __name__ == "__main__":
    raise SystemExit(main())
