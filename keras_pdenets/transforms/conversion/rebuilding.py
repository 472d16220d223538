"""The converted net: the calls of the original made again, with the new layers."""

import keras
from keras import layers

from keras_pdenets.builders.remat import model_class
from keras_pdenets.layers.precision import as_float64
from keras_pdenets.transforms.conversion.forms import common
from keras_pdenets.transforms.copying import copy_layer, give_weights


class Rebuild:
    """Makes the net again.

    Args:
        solved: (`Target`, form, constant of the bias) by identity of the calls.
        norms: Corrected copies of batch norms by identity of their calls.
    """

    def __init__(self, solved, norms):
        self._solved, self._norms = solved, norms
        self._idle = {id(t.padding) for t, _, _ in solved.values() if t.padding is not None}
        self._copies, self._made = {}, []

    def model(self, model, graph):
        """The new model, with its weights."""
        new = graph.rebuild(self._make, kind=model_class(model))
        for old, copy in self._copies.values():
            if copy is not old:
                give_weights(old, copy)
        for layer, values in self._made:
            layer.set_weights(values)
        return new

    def _make(self, call, args, kwargs):
        if id(call) in self._idle:
            return args[0]
        if id(call) in self._solved:
            return self._operator(*self._solved[id(call)], args[0])
        layer = call.layer
        if isinstance(layer, layers.Layer):
            if id(layer) not in self._copies:
                source = self._norms.get(id(call), layer)
                self._copies[id(layer)] = source, copy_layer(layer)
            layer = self._copies[id(layer)][1]
        return layer(*args, **kwargs)

    def _operator(self, target, form, constant, x):
        """The new layers in place of a convolution, with what its border and activation need."""
        old, alignment = target.layer, target.alignment
        if alignment is not None and max(alignment.front):
            x = layers.ZeroPadding2D(
                [(front, 0) for front in alignment.front], name=f"{old.name}_pad", **common(old)
            )(x)
        new, weights = form.layer()
        for layer, values in zip(new, weights, strict=True):
            layer.trainable = old.trainable
            x = layer(x)
            self._made.append((layer, values))
        if old.use_bias:
            weights[-1].append(as_float64(old.bias) + constant)
        if alignment is not None and max(map(max, alignment.crop)):
            x = layers.Cropping2D(alignment.crop, name=f"{old.name}_crop", **common(old))(x)
        return self._activate(old, x)

    def _activate(self, old, x):
        if old.activation is keras.activations.linear:
            return x
        if isinstance(old.activation, layers.Layer):
            return copy_layer(old.activation)(x)
        name = f"{old.name}_activation"
        return layers.Activation(old.activation, dtype=old.dtype_policy, name=name)(x)
