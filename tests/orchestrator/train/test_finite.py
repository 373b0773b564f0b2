"""Bad numbers are noticed: each of them, in the look that they belong to, and none that is fine."""

from __future__ import annotations

import pytest
import torch

from orchestrator.train.finite import Diverged, Look, Watch, bad_tensors, norm

CPU = torch.device("cpu")
FINE = {"loss": torch.tensor(3e38), "seg": torch.tensor(0.0), "gradient of net": torch.tensor(1e-40)}


def told(look: Look) -> Diverged:
    return Diverged(f"{look.step} {look.micro} {look.bad()}")


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("name", FINE)
def test_bad_number_is_named_with_its_step(name, value):
    watch = Watch(CPU, told)
    watch.look(3, 5, FINE)
    with pytest.raises(Diverged, match=rf"4 7 \['{name}'\]"):
        watch.look(4, 7, {**FINE, name: torch.tensor(value)})


def test_late_answer_is_read_at_the_next_look_and_at_the_latest_before_anything_is_kept():
    watch = Watch(CPU, told)
    watch._late = True
    bad = {**FINE, "loss": torch.tensor(torch.nan)}
    with pytest.MonkeyPatch.context() as patch:  # the parts of a GPU that a processor has not
        patch.setattr(torch.cuda, "Event", Arrived)
        patch.setattr(torch, "empty", lambda shape, pin_memory: torch.zeros(shape))
        watch.look(1, 1, FINE)
        watch.look(2, 2, bad)
        with pytest.raises(Diverged, match="2 2"):
            watch.look(3, 3, FINE)
        watch.settle()
        watch.look(4, 4, bad)
        with pytest.raises(Diverged, match="4 4"):
            watch.settle()


class Arrived:
    def record(self) -> None:
        pass

    def synchronize(self) -> None:
        pass


def test_norm_of_gradients_keeps_what_is_bad():
    assert norm([torch.full((10,), 1e15), torch.full((2, 3), -1e15)]).item() == pytest.approx(4e15)
    assert norm([]).item() == 0
    assert norm([torch.ones(3), torch.tensor([1.0, torch.nan])]).isnan()
    assert norm([torch.ones(3), torch.tensor([1.0, -torch.inf])]).item() == torch.inf


def test_whole_numbers_are_never_bad():
    tensors = {"count": torch.tensor([2**62]), "half": torch.tensor([1.0], dtype=torch.float16), "none": torch.empty(0)}
    assert bad_tensors(tensors) == []
    assert bad_tensors({**tensors, "weight": torch.tensor([[1.0, torch.nan]])}) == ["weight"]
