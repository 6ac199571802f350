"""Training from arrays, on any Keras backend."""

from keras_resnet.arrays.fit import fit_arrays as fit_arrays
