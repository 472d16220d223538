"""Layer configs that hold every argument of `__init__`."""

import inspect

import keras

_HINT = "import keras_pdenets before opening a file with this layer"


class SignatureConfig:
    """Mixin that builds `get_config` from the signature of `__init__`.

    Every argument must be an attribute of the same name, or `get_config` raises AttributeError. It
    precedes `keras.layers.Layer` in the list of bases.
    """

    def get_config(self):
        """The arguments of `__init__`, serialised by Keras."""
        config = super().get_config()
        for name, parameter in inspect.signature(type(self).__init__).parameters.items():
            if name != "self" and parameter.kind is not inspect.Parameter.VAR_KEYWORD:
                value = getattr(self, name)
                config[name] = keras.saving.serialize_keras_object(value)
        return config

    def get_build_config(self):
        """The build config of Keras, and a hint.

        Keras prints both configs when it opens a `.keras` file with an unknown layer, before any
        code of this package can run.
        """
        config = super().get_build_config()
        return config and {**config, "hint": _HINT}

    @classmethod
    def from_config(cls, config):
        """A new layer with the arguments of `config`."""
        return cls(**{k: keras.saving.deserialize_keras_object(v) for k, v in config.items()})


class SameShape(SignatureConfig, keras.layers.Layer):
    """A layer whose output has the shape of its input."""

    def compute_output_shape(self, input_shape):
        """The shape of the input."""
        return input_shape
