"""How many threads a training takes: those that are measured to be fastest, and the same ones when it goes on."""

import time

import pytest
import torch
from test_training import make, trainer

from diracdiff.training import Threads
from diracdiff.training.threads import fastest


@pytest.fixture(autouse=True)
def threads():
    """Put the number back."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def fitted(image_folder, tmp_path):
    """Train for an epoch with a callback."""

    def fit(callback):
        module, data = make(image_folder, given=True)
        fitting = trainer(tmp_path, callback, epochs=1, limit_train_batches=2, log_every_n_steps=1)
        fitting.fit(module, data)
        return fitting, module

    return fit


@pytest.mark.parametrize(
    ("seconds", "chosen"),
    [({1: 0.05, 2: 0.05, 3: 0.05}, 1), ({1: 0.1, 2: 0.05, 3: 0.048}, 2), ({1: 0.1, 2: 0.07, 3: 0.04}, 3)],
)
def test_more_threads_must_be_worth_it(seconds, chosen):
    torch.set_num_threads(2)
    found, measured = fastest(lambda: time.sleep(seconds[torch.get_num_threads()]), most=3)
    assert found == chosen
    assert measured.keys() == seconds.keys()
    assert torch.get_num_threads() == 2


def test_what_is_hopelessly_slow_is_tried_once():
    calls = []

    def call():
        calls.append(torch.get_num_threads())
        time.sleep(0.2 if calls[-1] == 2 else 0.01)

    assert fastest(call, most=2)[0] == 1
    assert calls.count(2) == 1


def test_the_number_is_measured_kept_and_taken_again(fitted, monkeypatch, capsys):
    asked = []

    def two(call, most):
        call()
        asked.append(most)
        return 2, {1: 0.2, 2: 0.1}

    monkeypatch.setattr("diracdiff.training.threads.fastest", two)
    torch.set_num_threads(2)
    trainer, module = fitted(Threads())
    assert asked == [2]
    assert "threads: 2 of 2, by 200 ms a step with 1, 100 ms a step with 2" in capsys.readouterr().out
    assert all(p.grad is None or p.grad.isfinite().all() for p in module.parameters())
    state = next(c for c in trainer.callbacks if isinstance(c, Threads)).state_dict()
    assert state == {"threads": 2}
    again = Threads()
    again.load_state_dict({"threads": 1})
    torch.set_num_threads(2)
    fitted(again)
    assert asked == [2]
    assert torch.get_num_threads() == 1


def test_measuring_leaves_no_trace(fitted, monkeypatch):
    monkeypatch.setattr("diracdiff.training.threads.fastest", lambda call, most: (call(), (1, {1: 0.1}))[1])
    torch.set_num_threads(2)
    _, measured = fitted(Threads())
    _, plain = fitted(Threads(1))
    for one, other in zip(measured.parameters(), plain.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("number", [0, -1, True, 1.5, 99999999999, "many", None])
def test_a_number_that_is_none_is_refused(number):
    with pytest.raises(ValueError, match="must be auto or a positive integer"):
        Threads(number)
