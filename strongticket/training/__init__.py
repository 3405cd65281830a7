"""One training loop for weights and for masks: recipes, checkpoints that resume bit for bit, data parallelism."""

from strongticket.training.augment import crop_flip, resized_crop_flip
from strongticket.training.checkpoint import Checkpoint, CheckpointError
from strongticket.training.data import standardise
from strongticket.training.dense import Trained, train
from strongticket.training.evaluate import accuracy, logits, predictions
from strongticket.training.initial import initialise
from strongticket.training.loop import Epoch, Loop, TrainingError
from strongticket.training.optimiser import Stepper, WeightOptimiser
from strongticket.training.parallel import process_group
from strongticket.training.recipe import RECIPES, AbstractRecipe, Recipe, suggestion

__all__ = [
    "RECIPES",
    "AbstractRecipe",
    "Checkpoint",
    "CheckpointError",
    "Epoch",
    "Loop",
    "Recipe",
    "Stepper",
    "Trained",
    "TrainingError",
    "WeightOptimiser",
    "accuracy",
    "crop_flip",
    "initialise",
    "logits",
    "predictions",
    "process_group",
    "resized_crop_flip",
    "standardise",
    "suggestion",
    "train",
]
