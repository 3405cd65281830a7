"""Bases of linear layers: dense, convolutional, circulant, group-equivariant, of sets, and matrices of one's own.

A layer is coefficients times a basis. All that a construction or a certificate needs of a kind of layer is said here:
one file per basis, what all of them promise in `abstract`, and in `ids` how a basis is read from its text.
"""

from strongticket.models.bases.abstract import AbstractBasis, mix
from strongticket.models.bases.circulant import Circulant
from strongticket.models.bases.convolution import Convolution
from strongticket.models.bases.group import GroupConvolution, dihedral, symmetric
from strongticket.models.bases.ids import basis
from strongticket.models.bases.matrix import MatrixBasis
from strongticket.models.bases.pointwise import Pointwise
from strongticket.models.bases.sets import Sets

__all__ = [
    "AbstractBasis",
    "Circulant",
    "Convolution",
    "GroupConvolution",
    "MatrixBasis",
    "Pointwise",
    "Sets",
    "basis",
    "dihedral",
    "mix",
    "symmetric",
]
