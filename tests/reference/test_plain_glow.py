"""The plain reference against known values, literal loops and a numerical Jacobian."""

import numpy as np
import numpy.typing as npt
import pytest

from tests.reference.plain_glow import PlainGlow, convolve, dequantize, squeeze

Array = npt.NDArray[np.float64]


def make_parameters(
    channels: int,
    n_levels: int,
    n_steps: int,
    width: int,
    coupling: str,
    permutation: str,
    border: bool,
    spread: float,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Parameters around the identity: every free one has a normal deviation of standard deviation `spread`."""
    rng = np.random.default_rng(seed)
    parameters: dict[str, np.ndarray] = {}

    def free(*shape: int) -> Array:
        return spread * rng.standard_normal(shape)

    def convolution(name: str, inputs: int, outputs: int, size: int) -> None:
        parameters[f"{name}.weight"] = free(outputs, inputs, size, size)
        parameters[f"{name}.bias"] = free(outputs)
        parameters[f"{name}.logs"] = free(outputs) / 3.0
        if border and size == 3:
            parameters[f"{name}.border"] = free(outputs, 1, 3, 3)

    for level in range(n_levels):
        channels *= 4
        for step in range(n_steps):
            name = f"levels.{level}.steps.{step}"
            parameters[f"{name}.actnorm.bias"] = free(channels)
            parameters[f"{name}.actnorm.logs"] = free(channels) / 3.0
            order = rng.permutation(channels) if spread > 0.0 else np.arange(channels)
            if permutation == "lu":
                parameters[f"{name}.permutation.p"] = np.eye(channels)[order]
                # Whole matrices: what lies outside of the strict triangles must not count.
                parameters[f"{name}.permutation.lower"] = free(channels, channels)
                parameters[f"{name}.permutation.upper"] = free(channels, channels)
                parameters[f"{name}.permutation.log_s"] = free(channels)
                sign = np.where(rng.random(channels) < 0.5, -1.0, 1.0) if spread > 0.0 else np.ones(channels)
                parameters[f"{name}.permutation.sign"] = sign
            elif permutation == "full":
                parameters[f"{name}.permutation.weight"] = np.eye(channels)[order] + free(channels, channels)
            elif permutation == "shuffle":
                parameters[f"{name}.permutation.index"] = order
            else:
                parameters[f"{name}.permutation.index"] = np.arange(channels)[::-1].copy()
            conditioner = f"{name}.coupling.conditioner"
            convolution(f"{conditioner}.conv1", channels // 2, width, 3)
            convolution(f"{conditioner}.conv2", width, width, 1)
            convolution(f"{conditioner}.conv3", width, channels if coupling == "affine" else channels // 2, 3)
        if level < n_levels - 1:
            convolution(f"levels.{level}.prior.conv", channels // 2, channels, 3)
            channels //= 2
    top = f"levels.{n_levels - 1}.prior"
    parameters[f"{top}.bias"] = free(2 * channels)
    parameters[f"{top}.logs"] = free(2 * channels) / 3.0
    if border:
        parameters[f"{top}.border"] = free(2 * channels, 1, 3, 3)
    return parameters


def make_glow(
    channels: int = 1,
    n_levels: int = 2,
    n_steps: int = 1,
    width: int = 5,
    coupling: str = "affine",
    permutation: str = "lu",
    scale: str = "sigmoid",
    border: bool = True,
    n_bits: int = 8,
    spread: float = 0.3,
) -> PlainGlow:
    parameters = make_parameters(channels, n_levels, n_steps, width, coupling, permutation, border, spread)
    return PlainGlow(parameters, n_levels, n_steps, coupling, permutation, scale, border, n_bits)


def make_images(batch: int, channels: int, size: int) -> tuple[npt.NDArray[np.uint8], Array]:
    rng = np.random.default_rng(1)
    shape = (batch, channels, size, size)
    return rng.integers(0, 256, shape, dtype=np.uint8), rng.random(shape)


def test_dequantize() -> None:
    images = np.array([0, 7, 8, 255], dtype=np.uint8).reshape(1, 1, 2, 2)
    noise = np.full((1, 1, 2, 2), 0.5)
    np.testing.assert_allclose(dequantize(images, noise, 8).ravel(), np.array([0.5, 7.5, 8.5, 255.5]) / 256 - 0.5)
    np.testing.assert_allclose(dequantize(images, noise, 5).ravel(), np.array([0.5, 0.5, 1.5, 31.5]) / 32 - 0.5)


def test_squeeze() -> None:
    x = np.arange(32, dtype=np.float64).reshape(1, 2, 4, 4)
    y = squeeze(x)
    assert y.shape == (1, 8, 2, 2)
    np.testing.assert_array_equal(y[0, 0], [[0, 2], [8, 10]])
    np.testing.assert_array_equal(y[0, 1], [[1, 3], [9, 11]])
    np.testing.assert_array_equal(y[0, 2], [[4, 6], [12, 14]])
    np.testing.assert_array_equal(y[0, 3], [[5, 7], [13, 15]])
    np.testing.assert_array_equal(y[0, 4:], y[0, :4] + 16)


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("border", [False, True])
def test_convolution_is_the_literal_sum(size: int, border: bool) -> None:
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((2, 3, 4, 5)), rng.standard_normal((4, 3, size, size))
    kernel = rng.standard_normal((4, 1, size, size))
    expected = np.zeros((2, 4, 4, 5))
    for image, output, row, column in np.ndindex(2, 4, 4, 5):
        for i in range(size):
            for j in range(size):
                source_row, source_column = row + i - size // 2, column + j - size // 2
                if 0 <= source_row < 4 and 0 <= source_column < 5:
                    for c in range(3):
                        expected[image, output, row, column] += (
                            weight[output, c, i, j] * x[image, c, source_row, source_column]
                        )
                elif border:
                    expected[image, output, row, column] += kernel[output, 0, i, j]
    np.testing.assert_allclose(convolve(x, weight, kernel if border else None), expected, rtol=0, atol=1e-13)


def test_border_by_hand() -> None:
    kernel = np.arange(1.0, 10.0).reshape(1, 1, 3, 3)
    zeros = np.zeros((1, 1, 3, 3))
    expected = [[1 + 2 + 3 + 4 + 7, 1 + 2 + 3, 1 + 2 + 3 + 6 + 9], [1 + 4 + 7, 0, 3 + 6 + 9]]
    expected.append([1 + 4 + 7 + 8 + 9, 7 + 8 + 9, 3 + 6 + 9 + 8 + 7])
    np.testing.assert_allclose(convolve(zeros, zeros, kernel)[0, 0], expected)


@pytest.mark.parametrize("n_bits", [5, 8])
@pytest.mark.parametrize("permutation", ["lu", "full", "shuffle", "reverse"])
@pytest.mark.parametrize(("coupling", "scale"), [("additive", "sigmoid"), ("affine", "bounded")])
def test_identity_gives_the_known_value(n_bits: int, permutation: str, coupling: str, scale: str) -> None:
    """The identity flow at x = 0 under N(0, I): n_bits + log2(2 pi) / 2 bits per dimension."""
    glow = make_glow(3, 2, 2, 8, coupling, permutation, scale, True, n_bits, spread=0.0)
    images, noise = np.full((2, 3, 8, 8), 128, dtype=np.uint8), np.zeros((2, 3, 8, 8))
    np.testing.assert_allclose(glow.bits_per_dim(images, noise), n_bits + 0.5 * np.log2(2 * np.pi), rtol=1e-13)
    images, noise = make_images(2, 3, 8)
    x = dequantize(images, noise, n_bits)
    expected = np.sum(-0.5 * np.log(2 * np.pi) - 0.5 * x**2, axis=(1, 2, 3)) - 3 * 8 * 8 * np.log(2**n_bits)
    np.testing.assert_allclose(glow.log_prob(images, noise), expected, rtol=1e-13)


def test_affine_coupling_at_zero_shrinks_by_sigmoid_of_two() -> None:
    glow = make_glow(1, 1, 1, 4, permutation="full", spread=0.0)
    images, noise = make_images(3, 1, 4)
    z = squeeze(dequantize(images, noise, 8))
    s = 1 / (1 + np.exp(-2.0))
    z[:, 2:] *= s
    expected = np.sum(-0.5 * np.log(2 * np.pi) - 0.5 * z**2, axis=(1, 2, 3)) + 8 * np.log(s) - 16 * np.log(256)
    np.testing.assert_allclose(glow.log_prob(images, noise), expected, rtol=1e-13)
    np.testing.assert_allclose(glow.latents(images, noise)[0], z, rtol=1e-13)


def test_interleaved_channels_and_scales_by_hand() -> None:
    """Biases and logs alone, border off: each formula with the channels written out one by one."""
    glow = make_glow(1, 2, 1, 4, permutation="full", border=False, spread=0.0)
    parameters = dict(glow.parameters)
    parameters["levels.0.steps.0.coupling.conditioner.conv3.bias"] = np.array([0.1, 0.2, 0.3, -0.4])
    parameters["levels.0.steps.0.coupling.conditioner.conv3.logs"] = np.array([0.0, 0.1, 0.2, 0.3])
    parameters["levels.0.prior.conv.bias"] = np.array([-0.5, 0.6, 0.7, -0.8])
    parameters["levels.0.prior.conv.logs"] = np.array([0.3, -0.1, 0.0, 0.2])
    parameters["levels.1.prior.bias"] = np.arange(16) / 10.0
    parameters["levels.1.prior.logs"] = np.arange(16) / -50.0
    glow = PlainGlow(parameters, 2, 1, "affine", "full", "sigmoid", False, 8)
    images, noise = make_images(1, 1, 4)
    x = dequantize(images, noise, 8)[0, 0]

    def log_normal(z: float, mean: float, log_std: float) -> float:
        return -0.5 * np.log(2 * np.pi) - log_std - 0.5 * ((z - mean) / np.exp(log_std)) ** 2

    log_p = 0.0
    shifts, raws = (0.1, 0.3 * np.exp(0.6)), (0.2 * np.exp(0.3), -0.4 * np.exp(0.9))
    means, log_stds = (-0.5 * np.exp(0.9), 0.7), (0.6 * np.exp(-0.3), -0.8 * np.exp(0.6))
    for c in range(2):
        for value in x[1::2, c::2].ravel():
            s = 1 / (1 + np.exp(-(raws[c] + 2)))
            log_p += np.log(s) + log_normal((value + shifts[c]) * s, means[c], log_stds[c])
    # What is kept are the even rows: channel 0 has the even columns, channel 1 the odd ones.
    for c in range(8):
        value = x[2 * (c % 4 // 2), 2 * (c % 2) + c // 4]
        if c >= 4:
            value /= 1 + np.exp(-2.0)
            log_p -= np.log(1 + np.exp(-2.0))
        mean, log_std = c / 10 * np.exp(-3 * c / 50), (c + 8) / 10 * np.exp(-3 * (c + 8) / 50)
        log_p += log_normal(value, mean, log_std)
    np.testing.assert_allclose(glow.log_prob(images, noise), [log_p - 16 * np.log(256)], rtol=1e-13)


@pytest.mark.parametrize("scale", ["sigmoid", "bounded"])
def test_conditioner_and_scale_by_hand(scale: str) -> None:
    """At one pixel a 3x3 convolution is its centre tap, and the border all of its kernel but the centre."""
    rng = np.random.default_rng(3)
    glow = make_glow(1, 1, 1, 4, permutation="full", scale=scale, spread=0.0)
    parameters = dict(glow.parameters)
    name = "levels.0.steps.0.coupling.conditioner"
    for key in [key for key in parameters if key.startswith(name)]:
        parameters[key] = rng.standard_normal(parameters[key].shape) / (4.0 if key.endswith("logs") else 1.0)
    glow = PlainGlow(parameters, 1, 1, "affine", "full", scale, True, 8)
    images, noise = make_images(1, 1, 2)
    x = dequantize(images, noise, 8).ravel()

    h, signs = x[:2], []
    for conv, centre in (("conv1", 1), ("conv2", 0), ("conv3", 1)):
        weight, bias, logs = (parameters[f"{name}.{conv}.{part}"] for part in ("weight", "bias", "logs"))
        h = weight[:, :, centre, centre] @ h + bias
        if conv != "conv2":
            border = parameters[f"{name}.{conv}.border"][:, 0]
            h = h + border.sum(axis=(1, 2)) - border[:, 1, 1]
        h = np.exp(logs) ** 3 * h
        if conv != "conv3":
            signs.append(set(np.sign(h)))
            h = np.where(h > 0, h, 0.0)
    assert signs == [{-1.0, 1.0}, {-1.0, 1.0}]  # both relus are seen at work
    raw = h[[1, 3]]
    t = (np.exp(raw) - 1) / (np.exp(raw) + 1)  # tanh(raw / 2)
    s = np.exp(2 * t) if scale == "bounded" else 1 / (1 + np.exp(-raw - 2))
    z = np.concatenate([x[:2], (x[2:] + h[[0, 2]]) * s])
    expected = np.sum(np.log(s)) + np.sum(-0.5 * np.log(2 * np.pi) - 0.5 * z**2) - 4 * np.log(256)
    np.testing.assert_allclose(glow.latents(images, noise)[0].ravel(), z, rtol=1e-12)
    np.testing.assert_allclose(glow.log_prob(images, noise), [expected], rtol=1e-12)


def test_latents_order_and_shapes() -> None:
    images, noise = make_images(2, 3, 16)
    latents = make_glow(3, 3).latents(images, noise)
    assert [z.shape for z in latents] == [(2, 6, 8, 8), (2, 12, 4, 4), (2, 48, 2, 2)]


@pytest.mark.parametrize("border", [False, True])
@pytest.mark.parametrize("permutation", ["lu", "full", "shuffle", "reverse"])
@pytest.mark.parametrize(("coupling", "scale"), [("affine", "sigmoid"), ("affine", "bounded"), ("additive", "sigmoid")])
def test_log_prob_against_a_numerical_jacobian(coupling: str, scale: str, permutation: str, border: bool) -> None:
    """log p_flow(x) = log N(eps; 0, I) + log|det d eps / d x|, the latter by central differences."""
    glow = make_glow(coupling=coupling, permutation=permutation, scale=scale, border=border)
    images, noise = make_images(1, 1, 4)
    x = dequantize(images, noise, 8)

    def whitened(flat: Array) -> Array:
        return np.concatenate([z.ravel() for z in glow.encode(flat.reshape(1, 1, 4, 4))[1]])

    jacobian = np.empty((16, 16))
    for d in range(16):
        delta = np.zeros(16)
        delta[d] = 1e-5
        jacobian[:, d] = (whitened(x.ravel() + delta) - whitened(x.ravel() - delta)) / 2e-5
    eps = whitened(x.ravel())
    expected = np.sum(-0.5 * np.log(2 * np.pi) - 0.5 * eps**2) + np.linalg.slogdet(jacobian)[1]
    np.testing.assert_allclose(glow.encode(x)[0], [expected], rtol=0, atol=1e-6)
    np.testing.assert_allclose(glow.log_prob(images, noise), [expected - 16 * np.log(256)], rtol=0, atol=1e-6)


def test_lu_equals_full_of_the_assembled_matrix() -> None:
    lu = make_glow(3, 2, 2, 8)
    parameters = dict(lu.parameters)
    for name in [name for name in parameters if name.endswith(".permutation.p")]:
        prefix = name.removesuffix(".p")
        parts = ("p", "lower", "upper", "log_s", "sign")
        p, lower, upper, log_s, sign = (parameters.pop(f"{prefix}.{part}") for part in parts)
        unit_lower = np.tril(lower, -1) + np.eye(len(p))
        parameters[f"{prefix}.weight"] = p @ unit_lower @ (np.triu(upper, 1) + np.diag(sign * np.exp(log_s)))
    full = PlainGlow(parameters, 2, 2, "affine", "full", "sigmoid", True, 8)
    images, noise = make_images(2, 3, 8)
    np.testing.assert_allclose(full.log_prob(images, noise), lu.log_prob(images, noise), rtol=1e-11)


def test_shuffle_equals_full_of_the_permutation_matrix() -> None:
    shuffle = make_glow(3, 2, 2, 8, permutation="shuffle")
    parameters = dict(shuffle.parameters)
    for name in [name for name in parameters if name.endswith(".index")]:
        index = parameters.pop(name)
        parameters[name.removesuffix("index") + "weight"] = np.eye(len(index))[index]
    full = PlainGlow(parameters, 2, 2, "affine", "full", "sigmoid", True, 8)
    images, noise = make_images(2, 3, 8)
    np.testing.assert_allclose(full.log_prob(images, noise), shuffle.log_prob(images, noise), rtol=1e-13)


def test_images_of_a_batch_do_not_mix() -> None:
    glow = make_glow(3, 2, 2, 8)
    images, noise = make_images(3, 3, 8)
    together = glow.log_prob(images, noise)
    alone = [glow.log_prob(images[i : i + 1], noise[i : i + 1])[0] for i in range(3)]
    np.testing.assert_allclose(together, alone, rtol=1e-13)


def test_refuses_what_it_does_not_know() -> None:
    with pytest.raises(ValueError, match="scale"):
        make_glow(scale="exp")
    images, noise = make_images(1, 1, 4)
    with pytest.raises(ValueError, match="uint8"):
        make_glow().log_prob(images.astype(np.float64), noise)
    with pytest.raises(ValueError, match="noise"):
        make_glow().log_prob(images, noise + 1.0)
