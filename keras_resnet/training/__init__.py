"""How networks are trained, on any Keras backend: recipes, schedules, optimizers."""

from keras_resnet.training.recipe import Recipe as Recipe
from keras_resnet.training.recipes import RECIPES as RECIPES
