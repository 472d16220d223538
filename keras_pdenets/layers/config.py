"""Complete layer configs: every `__init__` argument comes back from `get_config`."""

import inspect

import keras


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

    @classmethod
    def from_config(cls, config):
        """A new layer with the arguments of `config`."""
        return cls(**{k: keras.saving.deserialize_keras_object(v) for k, v in config.items()})
