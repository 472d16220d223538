"""KerasHub's classes around a backbone for classification."""

import keras
from keras_hub.layers import ImageConverter
from keras_hub.models import ImageClassifier, ImageClassifierPreprocessor

from keras_pdenets.kerashub.backbone import PDENetBackbone


@keras.saving.register_keras_serializable(package="keras_pdenets")
class PDENetImageConverter(ImageConverter):
    """Resizes images; pixels stay in 0-255, since the backbone normalises them.

    Example:
    >>> import numpy as np
    >>> from keras_pdenets.kerashub import PDENetImageConverter
    >>> tuple(PDENetImageConverter(image_size=(28, 28))(np.zeros((2, 40, 50, 1))).shape)
    (2, 28, 28, 1)
    """

    backbone_cls = PDENetBackbone

    def get_config(self):
        return {**super().get_config(), "data_format": self.data_format}


@keras.saving.register_keras_serializable(package="keras_pdenets")
class PDENetImageClassifierPreprocessor(ImageClassifierPreprocessor):
    """Resizes the images in (images, labels, sample weights).

    Example:
    >>> import numpy as np
    >>> from keras_pdenets.kerashub import PDENetImageClassifierPreprocessor, PDENetImageConverter
    >>> resize = PDENetImageClassifierPreprocessor(PDENetImageConverter(image_size=(28, 28)))
    >>> images, labels = resize(np.zeros((2, 40, 50, 1)), np.array([3, 5]))
    >>> tuple(images.shape), len(labels)
    ((2, 28, 28, 1), 2)
    """

    backbone_cls = PDENetBackbone
    image_converter_cls = PDENetImageConverter


@keras.saving.register_keras_serializable(package="keras_pdenets")
class PDENetImageClassifier(ImageClassifier):
    """A backbone, global pooling and a classifier, which returns logits by default.

    `fit`, `predict` and `evaluate` resize images to the size that the checkpoint was trained on;
    `classifier.preprocessor.image_size` sets another size, or None for no resizing.

    Args:
        backbone: A `PDENetBackbone`.
        num_classes: Number of classes. In `from_preset` it adds a new head.
        preprocessor: A `PDENetImageClassifierPreprocessor` or None.
        head_dtype: Dtype policy of the head; None: float32, or float64 like the backbone.
        **kwargs: As in `keras_hub.models.ImageClassifier`: `pooling`, `activation`, `dropout`.

    Example:
    >>> from keras_pdenets.kerashub import PDENetImageClassifier
    >>> net = PDENetImageClassifier.from_preset("pde_resnet20_fashion_mnist", num_classes=3)
    >>> net.output_shape, net.preprocessor.image_size
    ((None, 3), (28, 28))
    """

    backbone_cls = PDENetBackbone
    preprocessor_cls = PDENetImageClassifierPreprocessor

    def __init__(self, backbone, num_classes, preprocessor=None, head_dtype=None, **kwargs):
        # Softmax and loss lose too much precision in half precision.
        full = "float64" if backbone.compute_dtype == "float64" else "float32"
        super().__init__(
            backbone,
            num_classes,
            preprocessor=preprocessor,
            head_dtype=head_dtype or full,
            **kwargs,
        )
        self.head_dtype = head_dtype

    def get_config(self):
        head_dtype = keras.saving.serialize_keras_object(self.head_dtype)
        return {**super().get_config(), "head_dtype": head_dtype}
