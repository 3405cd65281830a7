"""Named networks, networks of your own, and the targets that tickets shall compute."""

from strongticket.models.activations import Sign, sign
from strongticket.models.convolutional import Conv, LeNet5, Vgg
from strongticket.models.mlp import MLP
from strongticket.models.modules import ModuleArchitecture
from strongticket.models.names import architecture, register
from strongticket.models.residual import CifarResNet, ResNet
from strongticket.models.sparse import sparse_module
from strongticket.models.target import Layer, Target
from strongticket.models.transformer import PatchTransformer, TokenTransformer

__all__ = [
    "MLP",
    "CifarResNet",
    "Conv",
    "Layer",
    "LeNet5",
    "ModuleArchitecture",
    "PatchTransformer",
    "ResNet",
    "Sign",
    "Target",
    "TokenTransformer",
    "Vgg",
    "architecture",
    "register",
    "sign",
    "sparse_module",
]
