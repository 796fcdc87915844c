"""Normalising flows of images, independent of files, data sets and training."""

from glow_app.flows.base import Base
from glow_app.flows.bijection import Bijection, Chain
from glow_app.flows.conditioner import ConvNet, ZeroConv2d
from glow_app.flows.continuous.cnf import CNF, Standardisation
from glow_app.flows.continuous.field import MLPField, VectorField
from glow_app.flows.continuous.ode import NeuralODE
from glow_app.flows.continuous.solver import Solver
from glow_app.flows.continuous.unet import UNet
from glow_app.flows.coupling import AdditiveCoupling, AffineCoupling
from glow_app.flows.emerging import AutoregressiveConv, EmergingConv, EmergingGlow, Reversed
from glow_app.flows.family.batchnorm import BatchNorm
from glow_app.flows.family.gaussianization import Gaussianization, Rotation
from glow_app.flows.family.logit import Logit
from glow_app.flows.family.made import MADE, MaskedAutoregressive
from glow_app.flows.family.maf import IAF, MAF, Inverse
from glow_app.flows.family.marginal import MarginalGaussianization
from glow_app.flows.family.masked import MaskedCoupling, channel_mask, checkerboard
from glow_app.flows.family.mintnet import MaskedConv2d, MintLayer, MintNet
from glow_app.flows.family.nice import DiagonalScaling, Flatten, Nice
from glow_app.flows.family.planar import PlanarFlow, PlanarLayer, RadialFlow, RadialLayer
from glow_app.flows.family.plane import Plane
from glow_app.flows.family.real_nvp import DiagonalSqueeze, RealNVP
from glow_app.flows.family.residual import ResidualNet
from glow_app.flows.family.vector import MLP, Reordered, vector_coupling
from glow_app.flows.flow import Flow, single_level
from glow_app.flows.glow import FlowStep, Glow, Level
from glow_app.flows.initialize import initialize
from glow_app.flows.pixel_affine import ActNorm, ChannelPermutation, FullInvConv1x1, InvConv1x1, PixelLinear
from glow_app.flows.split import Split, TopPrior
from glow_app.flows.squeeze import Squeeze
from glow_app.flows.variational.vae import VAE

__all__ = [
    "CNF",
    "IAF",
    "MADE",
    "MAF",
    "MLP",
    "VAE",
    "ActNorm",
    "AdditiveCoupling",
    "AffineCoupling",
    "AutoregressiveConv",
    "Base",
    "BatchNorm",
    "Bijection",
    "Chain",
    "ChannelPermutation",
    "ConvNet",
    "DiagonalScaling",
    "DiagonalSqueeze",
    "EmergingConv",
    "EmergingGlow",
    "Flatten",
    "Flow",
    "FlowStep",
    "FullInvConv1x1",
    "Gaussianization",
    "Glow",
    "InvConv1x1",
    "Inverse",
    "Level",
    "Logit",
    "MLPField",
    "MarginalGaussianization",
    "MaskedAutoregressive",
    "MaskedConv2d",
    "MaskedCoupling",
    "MintLayer",
    "MintNet",
    "NeuralODE",
    "Nice",
    "PixelLinear",
    "PlanarFlow",
    "PlanarLayer",
    "Plane",
    "RadialFlow",
    "RadialLayer",
    "RealNVP",
    "Reordered",
    "ResidualNet",
    "Reversed",
    "Rotation",
    "Solver",
    "Split",
    "Squeeze",
    "Standardisation",
    "TopPrior",
    "UNet",
    "VectorField",
    "ZeroConv2d",
    "channel_mask",
    "checkerboard",
    "initialize",
    "single_level",
    "vector_coupling",
]
