"""The command `hpax`. `main` lists what there is; the module of a command holds its options and imports little.

What a command does lies beside it in a module of its own, imported when it runs, so that `--help` is quick.
"""
