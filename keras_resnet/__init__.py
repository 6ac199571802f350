"""Deep residual networks for Keras 3, as He, Zhang, Ren and Sun describe them.

Networks of *Deep Residual Learning for Image Recognition* (arXiv:1512.03385) and their
heirs, on any Keras backend, with the signature and layer names of
`keras.applications`.

Example:

>>> import keras_resnet
>>> model = keras_resnet.ResNet152(weights=None)
>>> print(keras_resnet.analysis.cost(model))
"""

from keras_resnet import analysis as analysis
from keras_resnet import arrays as arrays
from keras_resnet import blocks as blocks
from keras_resnet import layers as layers
from keras_resnet import preprocessing as preprocessing
from keras_resnet import shortcuts as shortcuts
from keras_resnet import surgery as surgery
from keras_resnet import training as training
from keras_resnet import weights as weights
from keras_resnet.applications import PlainNet18 as PlainNet18
from keras_resnet.applications import PlainNet20 as PlainNet20
from keras_resnet.applications import PlainNet32 as PlainNet32
from keras_resnet.applications import PlainNet34 as PlainNet34
from keras_resnet.applications import PlainNet44 as PlainNet44
from keras_resnet.applications import PlainNet56 as PlainNet56
from keras_resnet.applications import PlainNet110 as PlainNet110
from keras_resnet.applications import ResNet18 as ResNet18
from keras_resnet.applications import ResNet20 as ResNet20
from keras_resnet.applications import ResNet32 as ResNet32
from keras_resnet.applications import ResNet34 as ResNet34
from keras_resnet.applications import ResNet44 as ResNet44
from keras_resnet.applications import ResNet50 as ResNet50
from keras_resnet.applications import ResNet50V2 as ResNet50V2
from keras_resnet.applications import ResNet56 as ResNet56
from keras_resnet.applications import ResNet101 as ResNet101
from keras_resnet.applications import ResNet101V2 as ResNet101V2
from keras_resnet.applications import ResNet110 as ResNet110
from keras_resnet.applications import ResNet152 as ResNet152
from keras_resnet.applications import ResNet152V2 as ResNet152V2
from keras_resnet.applications import ResNet164 as ResNet164
from keras_resnet.applications import ResNet1001 as ResNet1001
from keras_resnet.applications import ResNet1202 as ResNet1202
from keras_resnet.applications import create as create
from keras_resnet.builder import build as build
from keras_resnet.conv import Settings as Settings
from keras_resnet.networks import NETWORKS as NETWORKS
from keras_resnet.networks import list_models as list_models
from keras_resnet.preprocessing import decode_predictions as decode_predictions
from keras_resnet.preprocessing import preprocess_input as preprocess_input
from keras_resnet.remat import rematerialize as rematerialize
from keras_resnet.spec import ResNetSpec as ResNetSpec
from keras_resnet.weights import export_weights as export_weights
from keras_resnet.weights import list_presets as list_presets
from keras_resnet.weights import load_weights as load_weights

__version__ = "0.1.0"
