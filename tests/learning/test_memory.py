from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

torch = pytest.importorskip("torch", reason="needs geofootprint[train]")

from geofootprint.config import TrainConfig, load_config  # noqa: E402
from geofootprint.errors import OptionError  # noqa: E402
from geofootprint.learning import memory  # noqa: E402
from geofootprint.learning.memory import available_memory, find_batch, is_out_of_memory, largest_that_fits  # noqa: E402

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@pytest.fixture
def config(tiny: Path) -> TrainConfig:
    return load_config(None, tiny)


@pytest.mark.parametrize("limit", [0, 1, 2, 3, 7, 40, 63, 64, 127, 128, 500])
@pytest.mark.parametrize("multiple", [1, 2])
def test_the_largest_to_an_eighth(limit: int, multiple: int) -> None:
    tried: list[int] = []

    def fits(batch: int) -> bool:
        tried.append(batch)
        return batch <= limit

    found = largest_that_fits(fits, 128, multiple=multiple)
    best = min(limit, 128) // multiple * multiple
    assert found % multiple == 0
    assert found <= best <= found + max(multiple, found // 8)
    assert len(tried) == len(set(tried)) <= 12
    assert all(0 < batch <= 128 for batch in tried)
    assert max(tried) <= max(2, 2 * limit + multiple)


def test_errors_that_say_so() -> None:
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"))
    assert is_out_of_memory(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"))
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("shapes do not match"))
    assert not is_out_of_memory(ValueError("out of memory"))


def test_torch_says_so_on_this_machine() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**61, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)


def test_a_batch_is_bounded_by_what_is_free(config: TrainConfig, fabric: Fabric, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_memory", lambda: 2**40)
    assert find_batch(config, 3, fabric, most=6) == 6
    assert find_batch(config, 3, fabric, most=12, processes=2) == 12
    monkeypatch.setattr(memory, "available_memory", lambda: 0)
    with pytest.raises(OptionError, match=r"Not even two crops of 64 px fit into memory; lower data\.patch"):
        find_batch(config, 3, fabric)


def test_what_is_free_is_some_of_the_machine() -> None:
    assert 0 < available_memory() < 2**50
