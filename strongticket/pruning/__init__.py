"""Prune trained networks: first and second order, exact where exactness is possible, on one interface."""

from strongticket.pruning.ablations import inverted, redrawn, shuffled, shuffled_mask
from strongticket.pruning.abstract import AbstractPruner, AbstractScore, Pruned, target_counts
from strongticket.pruning.convert import mask_of, to_sparse, to_torch_prune
from strongticket.pruning.exact_obs import ExactOBS
from strongticket.pruning.gradient import GradientMagnitude, Taylor
from strongticket.pruning.grasp import GraSP, GraSPAbs
from strongticket.pruning.hold import Hold, hold
from strongticket.pruning.layer_obs import LayerObs
from strongticket.pruning.magnitude import Magnitude
from strongticket.pruning.movement import Movement
from strongticket.pruning.network_obs import NetworkObs
from strongticket.pruning.obd import OBD
from strongticket.pruning.obs import OBS
from strongticket.pruning.problem import Loss, Problem, loss_function, prunable
from strongticket.pruning.prune import (
    METHODS,
    Method,
    measured_increase,
    prune,
    prune_path,
    pruner_of,
    register_method,
    score,
)
from strongticket.pruning.random_scores import Random
from strongticket.pruning.retrain import Retrained, Retraining, retrain, train_held
from strongticket.pruning.rounds import Rounds
from strongticket.pruning.saliency import ScorePruner
from strongticket.pruning.schedules import AbstractSchedule, Gradual, Iterative, OneShot
from strongticket.pruning.snip import SNIP
from strongticket.pruning.sparsegpt import SparseGPT
from strongticket.pruning.structures import AbstractStructure, Channels, Neurons, NofM, Unstructured
from strongticket.pruning.synflow import SynFlow
from strongticket.pruning.woodfisher import WoodFisher

__all__ = [
    "METHODS",
    "OBD",
    "OBS",
    "SNIP",
    "AbstractPruner",
    "AbstractSchedule",
    "AbstractScore",
    "AbstractStructure",
    "Channels",
    "ExactOBS",
    "GraSP",
    "GraSPAbs",
    "GradientMagnitude",
    "Gradual",
    "Hold",
    "Iterative",
    "LayerObs",
    "Loss",
    "Magnitude",
    "Method",
    "Movement",
    "NetworkObs",
    "Neurons",
    "NofM",
    "OneShot",
    "Problem",
    "Pruned",
    "Random",
    "Retrained",
    "Retraining",
    "Rounds",
    "ScorePruner",
    "SparseGPT",
    "SynFlow",
    "Taylor",
    "Unstructured",
    "WoodFisher",
    "hold",
    "inverted",
    "loss_function",
    "mask_of",
    "measured_increase",
    "prunable",
    "prune",
    "prune_path",
    "pruner_of",
    "redrawn",
    "register_method",
    "retrain",
    "score",
    "shuffled",
    "shuffled_mask",
    "target_counts",
    "to_sparse",
    "to_torch_prune",
    "train_held",
]
