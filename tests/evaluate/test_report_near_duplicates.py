"""Near duplicates: against brute force, and MinHash against datasketch."""

from __future__ import annotations

import numpy as np
import pytest

from osler.evaluate.report_near_duplicates import find_near_duplicates, minhash, shingle_sets, true_jaccard

VOCABULARY = [f"word{i}" for i in range(400)]


def corpus(*, originals: int, copies: int, seed: int) -> list[str]:
    """Random reports of about 100 words, and copies of them with a few words changed."""
    rng = np.random.default_rng(seed)
    texts = [list(rng.choice(VOCABULARY, size=rng.integers(60, 140))) for _ in range(originals)]
    for _ in range(copies):
        words = list(texts[rng.integers(originals)])
        for place in rng.choice(len(words), size=rng.integers(0, 5), replace=False):
            words[place] = "changed"
        texts.append(words)
    order = rng.permutation(len(texts))
    return [" ".join(texts[i]) for i in order]


def sets_of(texts: list[str]) -> list[set[str]]:
    pieces = [text.split() for text in texts]
    return [{" ".join(words[i : i + 5]) for i in range(len(words) - 4)} for words in pieces]


def brute_force(texts: list[str]) -> int:
    sets = sets_of(texts)
    return sum(any(len(a & b) / len(a | b) > 0.9 for a in sets[:place]) for place, b in enumerate(sets))


def test_the_count_is_that_of_brute_force() -> None:
    texts = corpus(originals=150, copies=150, seed=1)
    expected = brute_force(texts)
    found = find_near_duplicates([texts[:100], texts[100:]])
    assert 30 < expected < 150
    assert found.near == expected
    assert found.share == expected / 300
    assert (found.reports, found.too_short, found.capped) == (300, 0, 0)
    for first, second, value in found.examples:
        a, b = (sets_of([texts[i]])[0] for i in (first, second))
        assert first < second
        assert value == pytest.approx(len(a & b) / len(a | b))


def test_proposals_cover_those_of_datasketch() -> None:
    datasketch = pytest.importorskip("datasketch", reason="the oracle of MinHash")
    texts = corpus(originals=60, copies=60, seed=2)
    sets = sets_of(texts)
    index = datasketch.MinHashLSH(threshold=0.8, num_perm=128)
    near = 0
    for place, shingles in enumerate(sets):
        values = datasketch.MinHash(num_perm=128, seed=3)
        values.update_batch([shingle.encode() for shingle in shingles])
        near += any(len(shingles & sets[i]) / len(shingles | sets[i]) > 0.9 for i in index.query(values))
        index.insert(place, values)
    assert find_near_duplicates([texts]).near == near > 10


def test_minhash_estimates_the_jaccard_index() -> None:
    texts = corpus(originals=40, copies=60, seed=4)
    shingles, sizes = shingle_sets(texts)
    values = minhash(shingles, sizes)
    first, second = np.triu_indices(len(texts), k=1)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    true = true_jaccard(shingles, starts=starts, first=first, second=second)
    estimate = (values[first] == values[second]).mean(axis=1)
    assert np.abs(estimate - true).max() < 0.17
    assert abs((estimate - true)[true > 0.3].mean()) < 0.02


def test_many_copies_of_one_report_are_all_but_one_near() -> None:
    report = corpus(originals=1, copies=0, seed=5)[0]
    found = find_near_duplicates([[report] * 300])
    assert found.near == 299


def test_short_and_empty_reports_are_counted_and_never_near() -> None:
    found = find_near_duplicates([["", "no acute finding", "no acute finding"]])
    assert (found.reports, found.near, found.too_short) == (3, 0, 3)
    assert find_near_duplicates([]).share == 0.0
