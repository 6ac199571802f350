"""Deep residual networks for Keras 3, as He, Zhang, Ren and Sun describe them.

Networks of *Deep Residual Learning for Image Recognition* (arXiv:1512.03385), on any
Keras backend, with the signature and layer names of `keras.applications`.

Example:

>>> import keras_resnet
>>> model = keras_resnet.ResNet152(weights=None)
>>> print(keras_resnet.analysis.cost(model))
"""

from keras_resnet import analysis as analysis
from keras_resnet import blocks as blocks
from keras_resnet import layers as layers
from keras_resnet import shortcuts as shortcuts
from keras_resnet.applications import ResNet18 as ResNet18
from keras_resnet.applications import ResNet20 as ResNet20
from keras_resnet.applications import ResNet32 as ResNet32
from keras_resnet.applications import ResNet34 as ResNet34
from keras_resnet.applications import ResNet44 as ResNet44
from keras_resnet.applications import ResNet50 as ResNet50
from keras_resnet.applications import ResNet56 as ResNet56
from keras_resnet.applications import ResNet101 as ResNet101
from keras_resnet.applications import ResNet110 as ResNet110
from keras_resnet.applications import ResNet152 as ResNet152
from keras_resnet.applications import ResNet1202 as ResNet1202
from keras_resnet.builder import build as build
from keras_resnet.spec import NETWORKS as NETWORKS
from keras_resnet.spec import ResNetSpec as ResNetSpec

__version__ = "0.1.0"
