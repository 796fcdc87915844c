"""Normalising flows of images. Nothing here knows of files, data sets or training."""

from glow_app.flows.base import Base
from glow_app.flows.bijection import Bijection, Chain
from glow_app.flows.conditioner import ConvNet, ZeroConv2d
from glow_app.flows.coupling import AdditiveCoupling, AffineCoupling
from glow_app.flows.flow import Flow
from glow_app.flows.glow import FlowStep, Glow, Level
from glow_app.flows.initialize import initialize
from glow_app.flows.pixel_affine import ActNorm, ChannelPermutation, FullInvConv1x1, InvConv1x1, PixelAffine
from glow_app.flows.split import Split, TopPrior
from glow_app.flows.squeeze import Squeeze
from glow_app.flows.vector import MLP, Reordered, vector_coupling

__all__ = [
    "MLP",
    "ActNorm",
    "AdditiveCoupling",
    "AffineCoupling",
    "Base",
    "Bijection",
    "Chain",
    "ChannelPermutation",
    "ConvNet",
    "Flow",
    "FlowStep",
    "FullInvConv1x1",
    "Glow",
    "InvConv1x1",
    "Level",
    "PixelAffine",
    "Reordered",
    "Split",
    "Squeeze",
    "TopPrior",
    "ZeroConv2d",
    "initialize",
    "vector_coupling",
]
