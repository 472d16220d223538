"""Signatures and documentation of the public builders, one signature for each family.

A builder is a row of the table with the signature of its family: type checkers and
`inspect.signature` read it here. `None` (`"default"` where None is an answer) leaves an option of
the family as the row or the checkpoint has it.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import keras

Weights: TypeAlias = str | os.PathLike[str] | None
Folder: TypeAlias = str | os.PathLike[str] | None
Shape: TypeAlias = Sequence[int | None] | None
Activation: TypeAlias = str | Callable[[Any], Any] | None
DOCUMENTATION = """{builder}: {reference}.

{count:,} trainable parameters (small stem, 3 input channels, 10 classes). The arguments are those
of `keras.applications`, in its order; images have pixels 0-255.

Args:
    include_top: Whether to end in global pooling and a classifier.
    weights: `"hub"` (this architecture's own checkpoint), a name out of `list_presets()`,
        `"hf://organisation/repo[@revision]"`, a safetensors file or a folder with
        `model.safetensors`, or None for random weights. Random for None only.
    input_tensor: Symbolic tensor to use as the input.
    input_shape: Shape of an image in the order of `data_format`; sides may be None. Default: the
        checkpoint's, or ({side}, {side}, 3). Pretrained stems adapt to the number of channels.
    pooling: Without top: None, `"avg"` or `"max"`.
    classes: Number of classes; None: the checkpoint's, or 1000. With weights and another number
        the classifier is new, and one line of the log says so.
    classifier_activation: Activation of the classifier; None gives logits.
    name: Name of the model, or None for the architecture's; it selects nothing.
    include_preprocessing: Whether the model normalises pixels itself, as the checkpoint says.
        Keras' own `.weights.h5` files hold weights only: load them into a model that was built
        with the same checkpoint; `verify` sees a difference.
{options}
    dropout: Rate before the classifier.
    data_format: `"channels_last"`, `"channels_first"` or None for Keras' default.
    dtype: Keras dtype policy, such as `"mixed_bfloat16"`; the head stays in float32.
    revision: Revision of a `hf://` repository.
    cache_dir: Folder of the Hub's cache.
    local_files_only: Do not ask the network.

Returns:
    A functional `keras.Model`. A `.keras` file of it opens after `import keras_pdenets`; one of its
    folded net (`transforms.fold`) needs nothing.

Raises:
    ValueError: If an argument is out of range or contradicts the checkpoint.
    WeightsError: If the weights cannot be had or do not fit.

Example:

>>> import keras_pdenets
>>> model = keras_pdenets.{builder}(weights=None, input_shape=(32, 32, 3), classes=10)
>>> model.output_shape
(None, 10)
"""


def resnet(
    include_top: bool = True,
    weights: Weights = "hub",
    input_tensor: Any = None,
    input_shape: Shape = None,
    pooling: str | None = None,
    classes: int | None = None,
    classifier_activation: Activation = "softmax",
    name: str | None = None,
    *,
    include_preprocessing: bool = True,
    stem: str | None = None,
    operator_options: Mapping[str, Any] | None = None,
    zero_start: bool | None = None,
    step_size: float | str | None = None,
    scheme: str | None = None,
    leak: float | str | None = None,
    stochastic_depth: float | None = None,
    remat: bool | None = None,
    dropout: float = 0.0,
    data_format: str | None = None,
    dtype: Any = None,
    revision: str | None = None,
    cache_dir: Folder = None,
    local_files_only: bool = False,
) -> keras.Model:
    """Post-activation nets and their PDE and decomposed forms."""


def preact_resnet(
    include_top: bool = True,
    weights: Weights = "hub",
    input_tensor: Any = None,
    input_shape: Shape = None,
    pooling: str | None = None,
    classes: int | None = None,
    classifier_activation: Activation = "softmax",
    name: str | None = None,
    *,
    include_preprocessing: bool = True,
    num_blocks: int | Sequence[int] | None = None,
    operator_options: Mapping[str, Any] | None = None,
    zero_start: bool | None = None,
    step_size: float | str | None = None,
    scheme: str | None = None,
    leak: float | str | None = None,
    stochastic_depth: float | None = None,
    remat: bool | None = None,
    dropout: float = 0.0,
    data_format: str | None = None,
    dtype: Any = None,
    revision: str | None = None,
    cache_dir: Folder = None,
    local_files_only: bool = False,
) -> keras.Model:
    """Pre-activation nets and their PDE and decomposed forms."""


def plain_net(
    include_top: bool = True,
    weights: Weights = "hub",
    input_tensor: Any = None,
    input_shape: Shape = None,
    pooling: str | None = None,
    classes: int | None = None,
    classifier_activation: Activation = "softmax",
    name: str | None = None,
    *,
    include_preprocessing: bool = True,
    stem: str | None = None,
    operator_options: Mapping[str, Any] | None = None,
    dropout: float = 0.0,
    data_format: str | None = None,
    dtype: Any = None,
    revision: str | None = None,
    cache_dir: Folder = None,
    local_files_only: bool = False,
) -> keras.Model:
    """Nets without shortcuts."""


def refined_plain_net(
    include_top: bool = True,
    weights: Weights = "hub",
    input_tensor: Any = None,
    input_shape: Shape = None,
    pooling: str | None = None,
    classes: int | None = None,
    classifier_activation: Activation = "softmax",
    name: str | None = None,
    *,
    include_preprocessing: bool = True,
    stem: str | None = None,
    operator_options: Mapping[str, Any] | None = None,
    steps: int | None = None,
    promote: str | None = "default",
    dropout: float = 0.0,
    data_format: str | None = None,
    dtype: Any = None,
    revision: str | None = None,
    cache_dir: Folder = None,
    local_files_only: bool = False,
) -> keras.Model:
    """Nets without shortcuts whose every ReLU is a flow of several steps."""


def hyperbolic_resnet(
    include_top: bool = True,
    weights: Weights = "hub",
    input_tensor: Any = None,
    input_shape: Shape = None,
    pooling: str | None = None,
    classes: int | None = None,
    classifier_activation: Activation = "softmax",
    name: str | None = None,
    *,
    include_preprocessing: bool = True,
    equation: int | str | None = None,
    multiplier: int | None = None,
    shared_stencil: bool | None = None,
    activation: str | None = "default",
    activation_at: str | None = None,
    block_norm: str | None = None,
    boundary: str | None = None,
    stem: str | None = None,
    remat: bool | None = None,
    dropout: float = 0.0,
    data_format: str | None = None,
    dtype: Any = None,
    revision: str | None = None,
    cache_dir: Folder = None,
    local_files_only: bool = False,
) -> keras.Model:
    """Nets of products in place of activations."""
