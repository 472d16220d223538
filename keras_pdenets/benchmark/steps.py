"""The step of a case as a function, in the process that runs it."""

import functools
import tempfile
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from keras_pdenets import applications, export, transforms
from keras_pdenets.benchmark.case import EXPORTED
from keras_pdenets.presets import list_presets
from keras_pdenets.utils.extras import require

_RATE = 1e-3
# Random weights with untrained norms amplify rounding; the time is the same.
_TOLERANCE = 1e-2


@dataclass(frozen=True)
class TimedStep:
    """A net ready to run.

    Args:
        step: Function without arguments: one batch, from NumPy arrays to NumPy arrays.
        parameters: Number of weights before folding.
        count: Function without arguments: operations of the forward pass for one example, or None.
            It folds the net: call it after time and memory have been measured.
    """

    step: object
    parameters: int
    count: object


def make_step(case, setting):
    """The `TimedStep` of a `Case` in a `Setting`."""
    if case.source == "timm":
        return _timm(case, setting)
    model = _build(case, setting)
    images, labels = _batch(model.input_shape[1:], setting)
    parameters = model.count_params()
    if case.folding:
        # For a runtime, as `export` folds it.
        model, _ = transforms.fold(model, case.folding, portable=case.runtime in EXPORTED)
    if setting.mode == "training":
        step = _training_step(model, images, labels, case.options)
    elif case.runtime in EXPORTED:
        step = _exported(model, images, EXPORTED[case.runtime])
    elif case.runtime == "torch" and "compile" in case.options:
        step = _compiled_torch(model, images)
    else:
        model.compile(jit_compile=_jit(case.options), run_eagerly="eager" in case.options)
        step = functools.partial(model.predict_on_batch, images)
    return TimedStep(step, parameters, lambda: _operations(model))


def _build(case, setting):
    """The Keras model."""
    shape = (setting.size, setting.size, setting.channels)
    options = {"input_shape": shape, "classes": setting.classes}
    if "channels_first" in case.options:
        options["input_shape"] = (setting.channels, setting.size, setting.size)
    if setting.dtype != "float32":
        keras.config.set_dtype_policy(setting.dtype)
    if case.source == "keras":
        if "channels_first" in case.options:
            keras.config.set_image_data_format("channels_first")
        builder = getattr(keras.applications, case.name, None)
        if not callable(builder):
            raise ValueError(f"keras.applications has no net {case.name!r}.")
        return builder(weights=None, **options)
    if "channels_first" in case.options:
        options["data_format"] = "channels_first"
    if "remat" in case.options:
        options["remat"] = True
    weights = case.name if case.name in list_presets() else None
    return getattr(applications, case.architecture.builder)(weights=weights, **options)


def _batch(shape, setting):
    """Pixels and labels, the same for all cases up to the axis order."""
    rng = np.random.default_rng(setting.seed)
    images = rng.uniform(0, 255, (setting.batch, *shape)).astype("float32")
    return images, rng.integers(0, setting.classes, setting.batch)


def _jit(options):
    return True if "compile" in options else False if "eager" in options else "auto"


def _training_step(model, images, labels, options):
    model.compile(
        keras.optimizers.SGD(_RATE, momentum=0.9),
        "sparse_categorical_crossentropy",
        jit_compile=_jit(options),
        run_eagerly="eager" in options,
    )
    # The loss as a number is available only once the step is done.
    return lambda: float(model.train_on_batch(images, labels))


def _exported(model, images, format):
    """The exported net in its own runtime."""
    # The runtime keeps what it has opened.
    with tempfile.TemporaryDirectory() as folder:
        report = export.export(
            model, Path(folder) / "net", format, fuse=False, data=images[:2],
            tolerance=_TOLERANCE,
        )  # fmt: skip
        predict = export.open_exported(report.path, format)
        predict(images[:1])
    return lambda: predict(images)


def _compiled_torch(model, images):
    """The compiled result of torch.export, since Keras' functions are not one graph to torch."""
    import torch

    program = torch.export.export(model, (torch.from_numpy(images),))
    compiled = torch.compile(program.module())

    def step():
        with torch.inference_mode():
            return compiled(torch.from_numpy(images)).numpy()

    return step


def _timm(case, setting):
    import torch

    timm = require("timm", "benchmark")
    net = timm.create_model(
        case.name, pretrained=False, in_chans=setting.channels, num_classes=setting.classes
    )
    images, labels = _batch((setting.channels, setting.size, setting.size), setting)
    if "channels_last" in case.options:
        net = net.to(memory_format=torch.channels_last)
    parameters = sum(p.numel() for p in net.parameters())
    run = torch.compile(net) if "compile" in case.options else net
    optimizer = torch.optim.SGD(net.parameters(), _RATE, momentum=0.9)

    def tensor():
        x = torch.from_numpy(images)
        last = "channels_last" in case.options
        return x.to(memory_format=torch.channels_last) if last else x

    def predict():
        with torch.inference_mode():
            return run(tensor()).numpy()

    def train():
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(run(tensor()), torch.from_numpy(labels))
        loss.backward()
        optimizer.step()
        return float(loss)

    net.train(setting.mode == "training")
    step = predict if setting.mode == "inference" else train
    return TimedStep(step, parameters, lambda: _timm_operations(torch, net.eval(), images[:1]))


def _operations(model):
    """Operations of the forward pass, counted on the folded net, which has only plain layers."""
    found = transforms.count_operations(model)
    if found is None:
        found = transforms.count_operations(transforms.fold(model, decomposed="keep")[0])
    return found


def _timm_operations(torch, net, images):
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with counter, torch.inference_mode():
        net(torch.from_numpy(images))
    return counter.get_total_flops()
