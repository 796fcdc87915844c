"""The names of the parameters are part of the file format: checkpoints of today load tomorrow."""

from glow_app.flows import Glow

STEP = [
    "actnorm.bias", "actnorm.logs",
    "permutation.lower", "permutation.upper", "permutation.log_s", "permutation.p", "permutation.sign",
    "coupling.conditioner.conv1.weight", "coupling.conditioner.conv1.border",
    "coupling.conditioner.conv1.bias", "coupling.conditioner.conv1.logs",
    "coupling.conditioner.conv2.weight", "coupling.conditioner.conv2.bias", "coupling.conditioner.conv2.logs",
    "coupling.conditioner.conv3.weight", "coupling.conditioner.conv3.border",
    "coupling.conditioner.conv3.bias", "coupling.conditioner.conv3.logs",
]  # fmt: skip


def test_names_are_frozen() -> None:
    glow = Glow((3, 8, 8), n_levels=2, n_steps=1, width=4, n_classes=2)
    expected = {"initialized"}
    expected |= {f"levels.{level}.steps.0.{name}" for level in (0, 1) for name in STEP}
    expected |= {f"levels.0.prior.conv.{name}" for name in ("weight", "border", "bias", "logs")}
    expected |= {f"levels.1.prior.{name}" for name in ("border", "bias", "logs", "classes")}
    assert set(glow.state_dict()) == expected


def test_other_permutations() -> None:
    full = Glow((1, 4, 4), n_levels=1, n_steps=1, width=4, permutation="full", border=False)
    assert "levels.0.steps.0.permutation.weight" in full.state_dict()
    assert not any("border" in name for name in full.state_dict())
    shuffle = Glow((1, 4, 4), n_levels=1, n_steps=1, width=4, permutation="shuffle")
    assert "levels.0.steps.0.permutation.index" in shuffle.state_dict()
