"""A row of the table as a backbone of KerasHub."""

import keras
from keras_hub.models import FeaturePyramidBackbone

from keras_pdenets.builders import REMAT_OPTIONS, ModelOptions, Preprocessing
from keras_pdenets.graphs.names import parse
from keras_pdenets.layers.images import check_data_format
from keras_pdenets.presets import ARCHITECTURES
from keras_pdenets.utils.checks import lookup


@keras.saving.register_keras_serializable(package="keras_pdenets")
class PDENetBackbone(FeaturePyramidBackbone):
    """A net of this package without its head, from pixels 0-255 to feature maps.

    It has the layers, names and variables of the builders with `include_top=False`. Its first layer
    normalises the pixels.

    `pyramid_outputs` holds the output of each stage under `"P0"`, `"P1"` and so on; P<n> is 2^n
    times smaller than the image: P0 to P2 for nets of three stages, P2 to P5 for four stages after
    the stem for large images. The last map is taken before the head's norm, if the net has one.

    Args:
        architecture: Name of a row of the table, such as `"pde_preact_resnet20"`.
        options: Options of the family in addition to the row's, such as `{"stem": "cifar"}`.
        image_shape: Shape of an image in `data_format`; sides may be None.
        mean: Mean of the pixels, one for each channel or one for all.
        std: Standard deviation of the pixels, likewise.
        data_format: `"channels_last"`, `"channels_first"` or None for Keras' default.
        dtype: Keras dtype policy.
        **kwargs: As in `keras_hub.models.Backbone`; `name` defaults to that of the row.

    Raises:
        ValueError: If an argument is out of range.

    Example:
    >>> from keras_pdenets.kerashub import PDENetBackbone
    >>> backbone = PDENetBackbone("pde_preact_resnet20", image_shape=(32, 32, 3))
    >>> {key: tuple(value.shape) for key, value in backbone.pyramid_outputs.items()}
    {'P0': (None, 32, 32, 16), 'P1': (None, 16, 16, 32), 'P2': (None, 8, 8, 64)}
    """

    def __init__(
        self,
        architecture,
        options=None,
        image_shape=(None, None, 3),
        mean=(127.5,),
        std=(127.5,),
        data_format=None,
        dtype=None,
        **kwargs,
    ):
        row = lookup("architecture", architecture, ARCHITECTURES)
        options, data_format = dict(options or {}), check_data_format(data_format)
        if not REMAT_OPTIONS.keys().isdisjoint(options):
            raise ValueError(
                "`options` must not contain remat, which needs its own model class instead of "
                f"KerasHub's. Received: options={options}"
            )
        kwargs.setdefault("name", row.name)
        net = row.build(
            options,
            ModelOptions(
                tuple(image_shape),
                name=kwargs["name"],
                include_top=False,
                preprocessing=Preprocessing(tuple(mean), tuple(std)),
                data_format=data_format,
                dtype=dtype,
            ),
        )
        super().__init__(inputs=net.input, outputs=net.output, dtype=dtype, **kwargs)
        self.pyramid_outputs = _ends_of_stages(net)
        self.architecture = row.name
        self.options = options
        self.image_shape = tuple(image_shape)
        self.mean, self.std = tuple(mean), tuple(std)
        self.data_format = data_format

    def get_config(self):
        names = "architecture", "options", "image_shape", "mean", "std", "data_format"
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def _ends_of_stages(net):
    """Feature maps by level."""
    names = {layer.name for layer in net.layers}
    # Every stage but the first halves; the large stem and VGG's pools halve before.
    level = 2 * ("stem_pool" in names) + ("stage0_pool" in names)
    places = ((parse(layer.name), layer) for layer in net.layers)
    # Layers come in topological order, so the last one of a stage is its end.
    return {f"P{level + place.stage}": layer.output for place, layer in places if place}
