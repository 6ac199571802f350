"""Published and exported weights: where they are, how they are named, how they load."""

from keras_resnet.weights.exporting import export_weights as export_weights
from keras_resnet.weights.loading import LoadedWeights as LoadedWeights
from keras_resnet.weights.loading import LocatedWeights as LocatedWeights
from keras_resnet.weights.loading import load_weights as load_weights
from keras_resnet.weights.loading import locate as locate
from keras_resnet.weights.presets import DEFAULTS as DEFAULTS
from keras_resnet.weights.presets import PRESETS as PRESETS
from keras_resnet.weights.presets import Preset as Preset
from keras_resnet.weights.presets import as_table as as_table
from keras_resnet.weights.presets import default_preset as default_preset
from keras_resnet.weights.presets import list_presets as list_presets
