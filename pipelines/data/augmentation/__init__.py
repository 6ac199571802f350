"""The kernels, in TensorFlow, of `keras_resnet.training.augmentation`'s operations."""

from pipelines.data.augmentation.composition import KERNELS, Augmentation

__all__ = ["KERNELS", "Augmentation"]
