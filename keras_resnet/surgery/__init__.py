"""Model in, model out: what can be done to a network after it was built.

Each function takes a functional model with the layer names of `keras.applications`, and
returns a new one with weights of its own; the model it was given stays as it is.
"""

from keras_resnet.surgery.deepening import deepen as deepen
from keras_resnet.surgery.folding import fold_batch_norm as fold_batch_norm
from keras_resnet.surgery.lesion import drop_blocks as drop_blocks
from keras_resnet.surgery.lesion import permute_blocks as permute_blocks
from keras_resnet.surgery.scale_and_shift import ScaleAndShift as ScaleAndShift
from keras_resnet.surgery.statistics import precise_batch_norm as precise_batch_norm
