from __future__ import annotations

import os
import subprocess
import sys
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


LIMITED = """
import resource, sys, torch
torch.set_num_threads(1)
from geofootprint.errors import OptionError
from geofootprint.learning import trainer
now = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (now + 700 * 2**20,) * 2)
told = dict(config=sys.argv[3], epochs=1, device="cpu", precision="32")
try:
    trainer.train(sys.argv[1], sys.argv[2], batch=1024, **told)
except OptionError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits what a process may take")
def test_a_run_without_enough_memory_says_which_batch_would_fit(dataset: Path, tiny: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, dataset, tmp_path / "run", tiny], capture_output=True, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("A batch of 1024 crops of 64 px does not fit into memory; "), done.stdout + done.stderr
    fits = int(done.stdout.split(" would: give --batch ")[1].split(",")[0])
    assert 2 <= fits < 1024
    assert not (tmp_path / "run").exists()
