"""Complete layer configs: every `__init__` argument comes back from `get_config`."""

import inspect

import keras

_HINT = "import keras_pdenets before a file with this layer is opened"


class SignatureConfig:
    """Mixin that builds `get_config` from the signature of `__init__`.

    Every argument must be an attribute of the same name; one that is not fails at once with
    AttributeError. It stands before `keras.layers.Layer` in the list of bases.
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
        """What Keras builds the layer with, and a hint.

        Keras prints it, with the config, where it opens a `.keras` file and does not know the
        layer: before that no line of this package can run.
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
