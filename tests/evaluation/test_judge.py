"""The judge: what it learns, that it learns it again, and what is said of its reliability."""

import pytest
import torch

from glow_app.data.sets.drawn_faces import DrawnFaces
from glow_app.evaluation.judge import BATCH, Judge, Lessons, factor_correlations, reliability, train
from glow_app.evaluation.statistics import correlation, mean

CPU = torch.device("cpu")


def lessons(n: int, first: int = 0, size: int = 16) -> Lessons:
    source = DrawnFaces("val", size, n_images=first + n)
    columns = [source.factor_names.index(name) for name in ("age", "eyeglasses")]
    return Lessons(source, first, n, ("age", "eyeglasses"), source.factors[:, columns])


@pytest.mark.slow
def test_it_learns_eyeglasses() -> None:
    judge = train(lessons(500), 4_000, seed=0, device=CPU)
    test = DrawnFaces("test", 16, n_images=200)
    with torch.no_grad():
        verdict = judge(test.fetch(range(200)))
    known = {one.attribute: one for one in reliability(judge.attributes, test.attributes, verdict.logits)}
    assert (known["Eyeglasses"].balanced or 0) > 0.9
    truth = test.factors[:, [test.factor_names.index(name) for name in judge.factors]]
    found = factor_correlations(judge.factors, truth, verdict.factors)
    assert (found["eyeglasses"] or 0) > 0.8


def test_the_same_seed_gives_the_same_judge() -> None:
    part = lessons(70, first=5)
    torch.manual_seed(1)
    first = train(part, 3 * BATCH, seed=4, device=CPU).state_dict()
    torch.manual_seed(2)
    before = torch.random.get_rng_state()
    second = train(part, 3 * BATCH, seed=4, device=CPU).state_dict()
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    other = train(part, 3 * BATCH, seed=5, device=CPU).state_dict()
    assert not torch.equal(first["decide.weight"], other["decide.weight"])


def test_it_looks_at_no_other_images() -> None:
    seen: set[int] = set()

    class Watched(DrawnFaces):
        def __getitem__(self, index: int) -> torch.Tensor:
            seen.add(index)
            return super().__getitem__(index)

    source = Watched("val", 16, n_images=100)
    train(Lessons(source, 10, 70, (), torch.empty(100, 0)), 2 * BATCH, seed=0, device=CPU)
    assert seen == set(range(10, 80))


def test_progress_counts_images() -> None:
    told: list[tuple[int, int]] = []
    train(lessons(64), 2 * BATCH + 10, seed=0, device=CPU, progress=lambda done, total: told.append((done, total)))
    assert told == [(BATCH, 2 * BATCH), (2 * BATCH, 2 * BATCH)]


@pytest.mark.parametrize("shape", [(1, 16, 16), (3, 16, 24), (3, 64, 64), (1, 256, 256)])
def test_all_shapes(shape: tuple[int, int, int]) -> None:
    judge = Judge(shape, ("a", "b", "c"), ("f",)).eval()
    with torch.no_grad():
        verdict = judge(torch.zeros(2, *shape, dtype=torch.uint8))
    assert verdict.logits.shape == (2, 3)
    assert verdict.factors.shape == (2, 1)


def test_without_factors_there_is_nothing_to_estimate() -> None:
    judge = Judge((3, 16, 16), ("a",), ()).eval()
    assert judge(torch.zeros(2, 3, 16, 16, dtype=torch.uint8)).factors.shape == (2, 0)


def test_reliability_by_hand() -> None:
    attributes = torch.tensor([[1, 1], [0, 1], [0, 1], [0, 1]])
    logits = torch.tensor([[2.0, 1.0], [-1.0, 1.0], [1.0, -1.0], [-3.0, 1.0]])
    first, second = reliability(("a", "b"), attributes, logits)
    assert (first.attribute, first.accuracy, first.frequent) == ("a", 0.75, 0.75)
    assert first.balanced == pytest.approx((1 + 2 / 3) / 2)
    assert (second.balanced, second.accuracy, second.frequent) == (None, 0.75, 1.0)


def test_correlation_by_hand() -> None:
    x = torch.tensor([0.0, 1.0, 2.0])
    assert correlation(x, 3 - 2 * x) == pytest.approx(-1)
    assert correlation(x, torch.tensor([1.0, 0.0, 1.0])) == pytest.approx(0)
    assert correlation(x, torch.ones(3)) is None
    assert correlation(x[:1], x[:1]) is None


def test_mean_of_numbers_only() -> None:
    assert mean(torch.tensor([1.0, torch.nan, 2.0])) == 1.5
    assert mean(torch.tensor([torch.nan])) is None
