"""The type checker of the tests: every call of hpax is held to its annotations, shapes included."""

import beartype

checked = beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))
