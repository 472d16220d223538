"""The nets as KerasHub's classes: backbone, image classifier and presets; needs keras_hub.

Importing this package registers them, so that KerasHub's own functions find them:

    import keras_hub
    import keras_pdenets.kerashub

    classifier = keras_hub.models.ImageClassifier.from_preset("pde_resnet20_fashion_mnist")
    classifier.save_to_preset("folder")
    keras_hub.upload_preset("hf://organisation/net", "folder")

A preset of this package is created from the checkpoint with the pinned hash. KerasHub itself loads
`from_preset("hf://...")` and folders: Keras deserialises their configs, without hash or revision.
"""

from keras_pdenets.utils.extras import require

require("keras_hub", "kerashub")

from keras_pdenets.kerashub.backbone import PDENetBackbone as PDENetBackbone  # noqa: E402
from keras_pdenets.kerashub.classifier import (  # noqa: E402
    PDENetImageClassifier as PDENetImageClassifier,
)
from keras_pdenets.kerashub.classifier import (  # noqa: E402
    PDENetImageClassifierPreprocessor as PDENetImageClassifierPreprocessor,
)
from keras_pdenets.kerashub.classifier import (  # noqa: E402
    PDENetImageConverter as PDENetImageConverter,
)
from keras_pdenets.kerashub.presets import register as _register  # noqa: E402

_register()
