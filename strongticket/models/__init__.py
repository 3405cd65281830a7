"""Named networks, networks of your own, and the targets that tickets shall compute."""

from strongticket.models.activations import Sign, sign
from strongticket.models.attention import Attention, AttentionModule
from strongticket.models.bases import (
    AbstractBasis,
    Circulant,
    Convolution,
    GroupConvolution,
    MatrixBasis,
    Pointwise,
    Sets,
)
from strongticket.models.convolutional import Conv, LeNet5, Vgg
from strongticket.models.graph import (
    AbstractStep,
    Add,
    Affine,
    AveragePool,
    Flatten,
    Graph,
    GraphLayer,
    GraphModule,
    MaxPool,
    Pad,
    Rectify,
)
from strongticket.models.mlp import MLP
from strongticket.models.modules import ModuleArchitecture
from strongticket.models.names import architecture, register
from strongticket.models.residual import CifarResNet, ResNet
from strongticket.models.sparse import sparse_module
from strongticket.models.targets import AttentionTarget, GraphTarget, Layer, MergedHead, Target, load_target
from strongticket.models.transformer import PatchTransformer, TokenTransformer

__all__ = [
    "MLP",
    "AbstractBasis",
    "AbstractStep",
    "Add",
    "Affine",
    "Attention",
    "AttentionModule",
    "AttentionTarget",
    "AveragePool",
    "CifarResNet",
    "Circulant",
    "Conv",
    "Convolution",
    "Flatten",
    "Graph",
    "GraphLayer",
    "GraphModule",
    "GraphTarget",
    "GroupConvolution",
    "Layer",
    "LeNet5",
    "MatrixBasis",
    "MaxPool",
    "MergedHead",
    "ModuleArchitecture",
    "Pad",
    "PatchTransformer",
    "Pointwise",
    "Rectify",
    "ResNet",
    "Sets",
    "Sign",
    "Target",
    "TokenTransformer",
    "Vgg",
    "architecture",
    "load_target",
    "register",
    "sign",
    "sparse_module",
]
