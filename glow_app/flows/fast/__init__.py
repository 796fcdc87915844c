"""Faster layers of a flow; ``accelerate(flow)`` is the only entry point to this folder.

Each faster class is a subclass of the layer that defines the computation, with the same parameters under the same
names.
"""

from typing import TypeVar

from torch import nn

from glow_app.flows.bijection import Chain
from glow_app.flows.conditioner import ConvNet, ZeroConv2d
from glow_app.flows.continuous.cnf import CNF
from glow_app.flows.coupling import AdditiveCoupling, AffineCoupling
from glow_app.flows.emerging import EmergingGlow
from glow_app.flows.family.gaussianization import Gaussianization
from glow_app.flows.family.made import MaskedLinear
from glow_app.flows.family.maf import IAF, MAF
from glow_app.flows.family.mintnet import MintNet
from glow_app.flows.family.nice import Nice
from glow_app.flows.family.planar import PlanarFlow, RadialFlow
from glow_app.flows.family.plane import Plane
from glow_app.flows.family.real_nvp import RealNVP
from glow_app.flows.fast.conditioner import FastConvNet, FastZeroConv2d
from glow_app.flows.fast.coupling import FastAdditiveCoupling, FastAffineCoupling
from glow_app.flows.fast.faster import Faster
from glow_app.flows.fast.flow import (
    FastCNF,
    FastEmergingGlow,
    FastFlow,
    FastGaussianization,
    FastGlow,
    FastIAF,
    FastMAF,
    FastMintNet,
    FastNice,
    FastPlanarFlow,
    FastPlane,
    FastRadialFlow,
    FastRealNVP,
    FastSqueeze,
)
from glow_app.flows.fast.glow import FastChain, FastFlowStep
from glow_app.flows.fast.masked import FastMaskedLinear
from glow_app.flows.flow import Flow
from glow_app.flows.glow import FlowStep, Glow
from glow_app.flows.squeeze import Squeeze

M = TypeVar("M", bound=nn.Module)

FASTER: dict[type[nn.Module], type[Faster]] = {
    CNF: FastCNF,
    AdditiveCoupling: FastAdditiveCoupling,
    AffineCoupling: FastAffineCoupling,
    Chain: FastChain,
    ConvNet: FastConvNet,
    EmergingGlow: FastEmergingGlow,
    Flow: FastFlow,
    FlowStep: FastFlowStep,
    Gaussianization: FastGaussianization,
    Glow: FastGlow,
    IAF: FastIAF,
    MAF: FastMAF,
    MaskedLinear: FastMaskedLinear,
    MintNet: FastMintNet,
    Nice: FastNice,
    PlanarFlow: FastPlanarFlow,
    Plane: FastPlane,
    RadialFlow: FastRadialFlow,
    RealNVP: FastRealNVP,
    Squeeze: FastSqueeze,
    ZeroConv2d: FastZeroConv2d,
}
"""Plain class of a layer -> its faster class."""


def accelerate(flow: M) -> M:
    """Replaces the classes of a flow's layers by their faster classes, in place; returns the flow.

    Only ``layer.__class__`` changes: parameters, buffers and hooks stay the same objects, so optimizers, checkpoints
    and copies are not affected. This needs no time and no memory; weights are packed for inference at first use, and
    need as much memory again until training begins or they change. Subclasses of the plain classes are left as they
    are. :func:`reference` undoes it.

    >>> import torch
    >>> from glow_app.flows import Glow, initialize
    >>> from glow_app.flows.fast import accelerate, reference
    >>> flow = Glow((3, 16, 16), n_levels=2, n_steps=2, width=32)
    >>> x = torch.rand(32, 3, 16, 16) - 0.5
    >>> initialize(flow, x)
    >>> plain = flow.log_prob(x)
    >>> torch.allclose(accelerate(flow).log_prob(x), plain, rtol=1e-5)
    True
    """
    for layer in flow.modules():
        if (faster := FASTER.get(type(layer))) is not None:
            layer.__class__ = faster
            faster.begin(layer)  # type: ignore[arg-type]  # it is one now
    return flow


def reference(flow: M) -> M:
    """Undoes :func:`accelerate`, in place; returns the flow."""
    for layer in flow.modules():
        if isinstance(layer, Faster):
            layer.end()
            layer.__class__ = type(layer).plain()  # type: ignore[assignment]
    return flow


__all__ = ["FASTER", "accelerate", "reference"]
