"""Classes from outputs, judged by scikit-learn and by brute force in float64."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import top_k_accuracy_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from navit_edge.errors import InvalidInputError
from navit_edge.evaluate import heads
from navit_edge.evaluate.heads import TEMPERATURE, Retrieval, classifier_head, first_of_name, knn_head, linear_head

CLASSES, WIDTH = 8, 12


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that every head goes through several."""
    monkeypatch.setattr(heads, "_CHUNK", 1000)


def embeddings(count: int, seed: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Around a centre a class, far enough into each other that neighbours disagree."""
    centres = np.random.default_rng(0).normal(size=(CLASSES, WIDTH))
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, CLASSES, count)
    return (centres[targets] + rng.normal(0, 1.5, (count, WIDTH))).astype(np.float32), targets


def in_top(ranked: npt.NDArray[np.int64], targets: npt.NDArray[np.int64], k: int) -> float:
    return float((ranked[:, :k] == targets[:, None]).any(axis=1).mean())


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("neighbors", [1, 7, 20])
def test_neighbours_vote_as_in_scikit_learn(neighbors: int) -> None:
    train, targets = embeddings(300, 1)
    queries, truth = embeddings(120, 2)
    oracle = KNeighborsClassifier(
        neighbors, metric="cosine", algorithm="brute", weights=lambda distance: np.exp(-distance / TEMPERATURE)
    ).fit(train.astype(np.float64), targets)
    ranked = knn_head(train, targets, neighbors=neighbors)(queries)
    np.testing.assert_array_equal(ranked[:, 0], oracle.predict(queries.astype(np.float64)))
    shares = oracle.predict_proba(queries.astype(np.float64))
    voted = np.take_along_axis(shares, np.maximum(ranked, 0), axis=1)
    np.testing.assert_allclose(np.where(ranked >= 0, voted, 0), -np.sort(-shares, axis=1)[:, :5], atol=1e-5)
    if neighbors == 20:
        assert in_top(ranked, truth, 5) == pytest.approx(top_k_accuracy_score(truth, shares, k=5))


def test_fewer_training_images_than_neighbours_all_vote() -> None:
    train, targets = embeddings(5, 3)
    queries, _ = embeddings(20, 4)
    all_vote = knn_head(train, targets, neighbors=5)(queries)
    np.testing.assert_array_equal(knn_head(train, targets, neighbors=50)(queries), all_vote)


def test_the_linear_head_is_scikit_learns_on_scaled_features() -> None:
    train, targets = embeddings(300, 5)
    queries, truth = embeddings(120, 6)
    train[:, 0] = 3  # the same for all: nothing to scale
    oracle = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(train, targets)
    notes: list[str] = []
    ranked = linear_head(train, targets, note=notes.append)(queries)
    assert (ranked[:, 0] == oracle.predict(queries)).mean() > 0.97  # both are optimized to a tolerance
    expected = top_k_accuracy_score(truth, oracle.predict_proba(queries), k=5)
    assert in_top(ranked, truth, 5) == pytest.approx(expected, abs=0.02)
    assert notes == []


def test_a_linear_head_of_two_classes_ranks_both() -> None:
    train, targets = embeddings(200, 7)
    two = targets < 2
    ranked = linear_head(train[two], targets[two] + 3, note=print)(train[two])
    assert {tuple(row) for row in ranked.tolist()} == {(3, 4), (4, 3)}
    assert in_top(ranked, targets[two] + 3, 1) > 0.9


def test_a_linear_head_of_one_class_is_refused() -> None:
    train, _ = embeddings(10, 8)
    with pytest.raises(InvalidInputError, match="are of one class; a linear head needs two"):
        linear_head(train, np.zeros(10, np.int64), note=print)


def test_the_classifiers_top_classes_are_scikit_learns() -> None:
    rng = np.random.default_rng(9)
    logits = rng.normal(size=(200, 12)).astype(np.float32)
    truth = rng.integers(0, 12, 200)
    ranked = classifier_head([], 12)(logits)
    for k in (1, 5):
        assert in_top(ranked, truth, k) == top_k_accuracy_score(truth, logits, k=k, labels=range(12))


def test_classes_of_one_name_are_one_class() -> None:
    """As the two cranes of ImageNet."""
    head = classifier_head(["crane", "dog", "crane"], 3)
    ranked = head(np.array([[0, 1, 2], [2, 1, 0]], np.float32))
    assert ranked.tolist() == [[0, 1, 0], [0, 1, 0]]
    assert first_of_name(["crane", "crane"], 4).tolist() == [0, 0, 2, 3]


@pytest.mark.usefixtures("small_chunks")
def test_recall_is_that_of_a_brute_force_search() -> None:
    values, targets = embeddings(150, 10)
    targets[0] = CLASSES  # alone in its class: there is nothing to be found
    unit = values.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    found = Retrieval(values, targets)
    for k in (1, 5, 10):
        hits = []
        for query in range(150):
            order = [other for other in np.argsort(-(unit @ unit[query])) if other != query]
            hits.append(bool((targets[order[:k]] == targets[query]).any()))
            if k == 1:
                assert found.nearest[query] == targets[order[0]]
        assert found.found(k).tolist() == hits
    assert found.asked.tolist() == [False] + [True] * 149


def test_a_tie_with_another_class_is_not_found() -> None:
    """Outputs that are all the same, as of a broken engine, find nothing by the order of the files."""
    found = Retrieval(np.ones((6, 4), np.float32), np.array([0, 0, 0, 1, 1, 1]))
    assert not found.found(1).any()
    assert found.found(4).all()


def test_outputs_that_are_no_numbers_are_no_answer() -> None:
    train, targets = embeddings(50, 11)
    queries = train[:3].copy()
    queries[1, 2], queries[2, 0] = np.nan, np.inf
    for head in (
        knn_head(train, targets, neighbors=3),
        linear_head(train, targets, note=print),
        classifier_head([], WIDTH),
    ):
        ranked = head(queries)
        assert ranked[0, 0] >= 0
        assert (ranked[1:] == -1).all()
    values = train.copy()
    values[4] = np.nan
    found = Retrieval(values, targets)
    assert found.asked[4]
    assert not found.found(40)[4]
    assert found.nearest[4] == -1
