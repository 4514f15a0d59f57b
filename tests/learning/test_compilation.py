from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

torch = pytest.importorskip("torch", reason="needs geofootprint[train]")

from geofootprint.config import from_dict  # noqa: E402
from geofootprint.learning.batches import Batch  # noqa: E402
from geofootprint.learning.compilation import can_compile  # noqa: E402
from geofootprint.learning.pix2pix import Pix2Pix  # noqa: E402

if TYPE_CHECKING:
    from lightning_fabric import Fabric

ASK = """
from geofootprint.learning.compilation import can_compile
from geofootprint.learning.devices import make_fabric
print(can_compile(make_fabric(device="cpu", precision="32")))
"""


@pytest.fixture
def batch() -> Batch:
    generator = torch.Generator().manual_seed(1)
    target = (torch.rand(2, 2, 64, 64, generator=generator) < 0.4).float()
    return Batch(torch.rand(2, 3, 64, 64, generator=generator), target, torch.ones(2, 64, 64))


@pytest.mark.slow
def test_a_machine_without_a_compiler(tmp_path: Path) -> None:
    bare = {**os.environ, "CXX": str(tmp_path / "none"), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    asked = subprocess.run([sys.executable, "-c", ASK], env=bare, capture_output=True, text=True, check=True)
    assert asked.stdout == "False\n"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torch's compiler warns of itself
def test_a_compiled_generator_learns_the_same(fabric: Fabric, batch: Batch) -> None:
    if not can_compile(fabric):
        pytest.skip("no C++ compiler here")
    config = from_dict({"generator": {"width": 4}, "discriminator": {"width": 4}})
    torch.manual_seed(0)
    plain = Pix2Pix(config, 3, fabric)
    torch.manual_seed(0)
    fused = Pix2Pix(config, 3, fabric)
    fused.compile()
    for _ in range(2):
        torch.manual_seed(1)
        expected = plain.step(batch, adversarial=1.0)
        torch.manual_seed(1)
        losses = fused.step(batch, adversarial=1.0)
        assert losses.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(losses[name], value, rtol=1e-3, atol=1e-4)
    assert fused.state()["generator"].keys() == plain.state()["generator"].keys()
    assert copy.deepcopy(fused.generator.module)._compiled_call_impl is None
