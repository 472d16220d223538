# %% [markdown]
"""
# Train on several devices

**You learn** to spread one training over all devices of a machine, that the steps are those of
one device up to rounding, and how to go on to several machines.

**It takes** less than a minute on a CPU, which is divided into two devices here; a backend.
"""

# %%
import tempfile
from pathlib import Path

import keras_pdenets
from keras_pdenets.training import Recipe

FOLDER = Path(tempfile.mkdtemp())
images, labels = keras_pdenets.data.load_sample()
data = (images[:512], labels[:512]), (images[800:], labels[800:])

# %% [markdown]
# A recipe says everything about a training: net, phases, optimizer, seed. This one is tiny.

# %%
recipe = Recipe(
    preset="small",
    checkpoint={
        "architecture": "pde_preact_resnet20", "input_shape": (28, 28, 1), "classes": 10,
        "options": {"num_blocks": 1},
    },
    dataset="sample",
    stages=({"epochs": 2, "image_size": 14},),
    batch_size=64,
    warmup_epochs=0.0,
    seed=0,
)  # fmt: skip

# %% [markdown]
# On a machine with GPUs it is `devices="all"`, or `devices=2`; on a CPU `"cpu:2"` divides it, to
# try out. The command line has the same option: `keras-pdenets train --preset NAME --devices
# all`. Each device takes its share of every batch. TensorFlow and torch compute batch norm from
# the share alone.

# %%
logs = {}
for name, devices in (("two devices", "cpu:2"), ("one device", None)):
    folder = FOLDER / name.split()[0]
    logs[name] = keras_pdenets.train(recipe, folder, devices=devices, data=data, verbose=0)

# %%
for name, log in logs.items():
    print(name.ljust(12), *(f"epoch {row['epoch']}: loss {row['loss']:.4f}" for row in log))

# %% [markdown]
# A run may be killed at any moment; the same call resumes from the last complete epoch, with
# another number of devices if you like. Several machines: torch, with the same script on each,
# started by `torchrun --nnodes 2 --nproc-per-node 8 --rdzv-endpoint HOST:29500 --rdzv-backend
# c10d train.py`, in which `keras_pdenets.train(recipe, folder, devices="all")` is called.

# %%
print(sorted(path.name for path in (FOLDER / "two").iterdir()))
