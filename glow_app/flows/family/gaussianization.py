"""Gaussianization flows: each number becomes normal by itself, a rotation mixes them, and so on."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from glow_app.flows.bijection import Bijection, zero_logdet
from glow_app.flows.family.marginal import MarginalGaussianization
from glow_app.flows.family.nice import level_of_vectors
from glow_app.flows.flow import Flow

ROTATIONS = ("random", "pca")


class Rotation(Bijection):
    """``z = H_1 ... H_k x``, reflections ``H_i = I - 2 v_i v_i^T / |v_i|^2`` with learned v; log|det| is 0.

    Meng et al. 2020. D reflections make every orthogonal matrix, up to the sign of its determinant.

    Args:
        n_dims: D, channels of the vectors (B, D, 1, 1).
        n_reflections: k, 1 ... D.
        start: ``random``, or ``pca``: the first k numbers of ``z`` are the principal components of the data that
            initialise it, by descending variance, as all are in Laparra et al. 2011.

    Raises:
        ValueError: ``start`` is neither.
    """

    def __init__(self, n_dims: int, n_reflections: int, start: str = "random") -> None:
        super().__init__()
        if start not in ROTATIONS:
            raise ValueError(f"rotation is {start!r}; choose one of {', '.join(ROTATIONS)}")
        self.start = start
        self.v = nn.Parameter(torch.randn(n_reflections, n_dims))

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._reflect(x, back=False), zero_logdet(x)

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        return self._reflect(z, back=True)

    def initialize(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        if self.start == "pca":
            components = torch.linalg.eigh(torch.cov(x.flatten(1).T.double(), correction=0)).eigenvectors.flip(1)
            first = components[:, : len(self.v)]
            # Householder's QR of orthonormal columns: the product of its reflections begins with them, up to signs.
            reflections = torch.geqrf(first)[0].tril(-1) + torch.eye(*first.shape, dtype=first.dtype, device=x.device)
            self.v.copy_(reflections.T.flip(0))
        return self(x)[0]

    def _reflect(self, x: Tensor, back: bool) -> Tensor:
        # The product of reflections by unit vectors, rows of V, is I - V^T S^-1 V, with S the upper triangle of V V^T
        # and halves on its diagonal: three products in place of k (Joffrain et al. 2006).
        unit = self.v / torch.linalg.vector_norm(self.v, dim=1, keepdim=True)
        half = 0.5 * torch.eye(len(unit), dtype=x.dtype, device=x.device)
        triangle = half + (unit @ unit.T).triu(1)
        x = x.flatten(1)
        along = torch.linalg.solve_triangular(triangle if back else triangle.T, x @ unit.T, upper=back, left=False)
        return (x - along @ unit)[:, :, None, None]


class Gaussianization(Flow):
    """The Gaussianization flow of Meng, Song, Song & Ermon 2020, of an image as one vector of D numbers.

    Marginal layers (:class:`glow_app.flows.family.marginal.MarginalGaussianization`), and a :class:`Rotation` between
    any two. Initialised, and not trained, it is rotation-based iterative Gaussianization (Laparra, Camps-Valls & Malo
    2011): layer after layer is estimated on the output of those before it. ``inverse`` and samples search for each
    number, to the tolerance that the marginal layer states.

    >>> import torch
    >>> from glow_app.flows import Gaussianization, initialize
    >>> flow = Gaussianization((2, 1, 1), n_layers=3, n_components=20)
    >>> points = torch.rand(500, 2)[:, :, None, None]
    >>> initialize(flow, points)
    >>> [z], logdet = flow(points)
    >>> torch.allclose(flow.inverse([z]), points, atol=1e-4)
    True

    Args:
        image_shape: (C, H, W); points in the plane are (2, 1, 1).
        n_layers: number of marginal layers.
        n_components: logistics in the mixture of each number.
        n_reflections: reflections of each rotation; not more than D are made.
        rotation: start of the rotations, ``random`` or ``pca``.
        logit: alpha of an initial logit transform; None for no transform.
        n_classes: number of classes, each with a learned shift and scale of the latents; 0 for an unconditional model.
        memory: ``plain`` or ``checkpoint``; see :class:`glow_app.flows.bijection.Chain`.

    Raises:
        ValueError: an option is not one of those named.
    """

    decodes_by_search = True

    def __init__(
        self,
        image_shape: Sequence[int],
        n_layers: int,
        n_components: int,
        n_reflections: int = 16,
        rotation: str = "random",
        logit: float | None = None,
        n_classes: int = 0,
        memory: str = "plain",
    ) -> None:
        if memory == "reversible":
            raise ValueError("memory=reversible would invert layers that search for each number; choose checkpoint")
        n_dims = math.prod(image_shape)
        steps: list[Bijection] = [MarginalGaussianization(n_dims, n_components)]
        for _ in range(n_layers - 1):
            steps.append(Rotation(n_dims, min(n_reflections, n_dims), rotation))
            steps.append(MarginalGaussianization(n_dims, n_components))
        level = level_of_vectors(image_shape, steps, logit, n_classes, memory)
        super().__init__(image_shape, [level], [(n_dims, 1, 1)], n_classes=n_classes)
