"""Mutated submissions end in a clear error or a valid score: no crash, no hang, bounded memory."""

import base64
import contextlib
import resource
import time
import zlib

import numpy as np
import pytest

from hpax.formats import kaggle, label_images
from hpax.metrics import counting, detection

SECONDS = 5  # for one mutant
LIMITS = kaggle.Limits(row=2**20, pixels=2**20, masks=200, expansion=2**18)
TOKENS = [
    b"0",
    b"18",
    b"19",
    b"-1",
    b"nan",
    b"inf",
    b"1e999",
    b"0.5",
    b"1_0",
    b"0x1",
    b"\xff\xfe",
    b"\0",
    b"",
    b"=" * 9,
]
HOSTILE = [b"0" * 300_000, b"o" * 400, b"P" * 50, b"011" + b"0" * 9000, b"PPPP4", b"5220003", b"", b"OOOOOOO0" * 40]


def original(folder):
    """A truth and a submission of three small images, one empty."""
    generator = np.random.default_rng(0)
    rows = {"truth": [], "submission": []}
    for index, cells in enumerate((4, 0, 3)):
        image = np.kron(generator.integers(0, cells + 1, (4, 5)), np.ones((6, 6), int)).astype(np.uint16)
        classes = generator.random((cells, 19)) < 0.1
        rows["truth"].append(label_images.listing(f"i{index}", image, label_images.truth_scores(classes)))
        rows["submission"].append(label_images.listing(f"i{index}", image, generator.random((cells, 19)).round(2)))
    for name, listings in rows.items():
        kaggle.write(folder / f"{name}.csv", listings)
    return folder / "truth.csv", (folder / "submission.csv").read_bytes()


def bytes_changed(generator, text):
    """A few bytes replaced, put in or taken out anywhere."""
    changed = bytearray(text)
    for _ in range(generator.integers(1, 6)):
        place = int(generator.integers(len(changed)))
        changed[place : place + int(generator.integers(0, 3))] = generator.bytes(int(generator.integers(0, 3)))
    return bytes(changed)


def span_moved(generator, text):
    """A stretch doubled, dropped or cut off."""
    begin, end = sorted(generator.integers(0, len(text), 2).tolist())
    return [text[:end] + text[begin:], text[:begin] + text[end:], text[:begin]][int(generator.integers(3))]


def token_swapped(generator, text):
    """A column, class, score or mask replaced by a nasty one."""
    separator = [b" ", b",", b"\n"][int(generator.integers(3))]
    parts = text.split(separator)
    parts[int(generator.integers(len(parts)))] = TOKENS[int(generator.integers(len(TOKENS)))]
    return separator.join(parts)


def mask_swapped(generator, text):
    """A mask replaced by well-packed nonsense, or by one of its own run lengths changed."""
    parts = text.split(b" ")
    place = int(generator.choice([n for n, part in enumerate(parts) if part.startswith(b"eN")]))
    counts = HOSTILE[int(generator.integers(len(HOSTILE)))]
    if generator.random() < 0.6:
        with contextlib.suppress(ValueError, zlib.error):  # damaged before
            counts = bytearray(zlib.decompress(base64.b64decode(parts[place].split(b"\n")[0])))
            counts[int(generator.integers(len(counts)))] = int(generator.integers(40, 120))
    tail = parts[place][parts[place].find(b"\n") :] if b"\n" in parts[place] else b""
    parts[place] = base64.b64encode(zlib.compress(bytes(counts))) + tail
    return b" ".join(parts)


def edited(generator, text):
    """Something a user may do: triples left out, listed again or scored anew, rows in another order."""
    header, *rows = text.rstrip(b"\n").split(b"\n")
    place = int(generator.integers(len(rows)))
    start, _, triples = rows[place].rpartition(b",")
    parts = triples.split(b" ")
    kept = [b" ".join(parts[n : n + 3]) for n in range(0, len(parts), 3) if generator.random() < 0.8]
    kept += kept[:2] + [b" ".join([b"3", b"%.3f" % generator.random(), *part.split(b" ")[2:]]) for part in kept[:2]]
    rows[place] = start + b"," + b" ".join(part for part in kept if part)
    generator.shuffle(rows)
    return b"\n".join([header, *rows]) + b"\n"


MUTATIONS = (bytes_changed, span_moved, token_swapped, mask_swapped, *[edited] * 4)


@pytest.mark.parametrize("mutants", [300, pytest.param(10_000, marks=pytest.mark.slow)])
def test_mutants_end_in_an_error_or_a_score(tmp_path, mutants):
    truth, text = original(tmp_path)
    path, ends = tmp_path / "mutant.csv", {"scored": 0, "refused": 0}
    slowest, before = 0.0, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(mutants):
        generator = np.random.default_rng(number)
        mutant = text
        for mutation in generator.choice(MUTATIONS, generator.integers(1, 3)):
            mutant = mutation(generator, mutant) if mutant.count(b" eN") > 1 else mutant
        path.write_bytes(mutant)
        start = time.perf_counter()
        ends[end_of(truth, path)] += 1
        slowest = max(slowest, time.perf_counter() - start)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"{mutants} mutants: {ends}, slowest {slowest:.2f} s, memory grew by {grown:.0f} MB")
    assert min(ends.values()) > mutants / 50  # both ends are met
    assert slowest < SECONDS
    assert grown < 500


def end_of(truth, path):
    """How a file ends; what `report` finds and whether it scores must agree."""
    defects = kaggle.report(path, truth, LIMITS)
    assert all(len(str(defect)) < 1000 for defect in defects)
    errors = [defect for defect in defects if not defect.warning]
    try:
        scores = detection.score(counting.from_csv(truth, path, limits=LIMITS)[0])
    except kaggle.SubmissionError:
        assert errors
        return "refused"
    assert not errors
    assert 0 <= scores.mean() <= 1
    return "scored"
