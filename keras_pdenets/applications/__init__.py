"""The public builders, one for each row of `presets.ARCHITECTURES`, and `load_model`.

The package exports every name of this file without a leading underscore.
"""

from keras_pdenets.applications.building import application as _application
from keras_pdenets.applications.building import load_model as load_model
from keras_pdenets.builders.hyperbolic_resnet import hyperbolic_resnet as _hyperbolic_resnet
from keras_pdenets.builders.plain_net import plain_net as _plain_net
from keras_pdenets.builders.plain_net import refined_plain_net as _refined_plain_net
from keras_pdenets.builders.preact_resnet import preact_resnet as _preact_resnet
from keras_pdenets.builders.resnet import resnet as _resnet

ResNet18 = _application(_resnet, "resnet18")
ResNet34 = _application(_resnet, "resnet34")
ResNet50 = _application(_resnet, "resnet50")
ResNet101 = _application(_resnet, "resnet101")
PreActResNet20 = _application(_preact_resnet, "preact_resnet20")
PreActResNet32 = _application(_preact_resnet, "preact_resnet32")
PreActResNet44 = _application(_preact_resnet, "preact_resnet44")
PreActResNet56 = _application(_preact_resnet, "preact_resnet56")
PreActResNet110 = _application(_preact_resnet, "preact_resnet110")
PDEResNet18 = _application(_resnet, "pde_resnet18")
PDEResNet34 = _application(_resnet, "pde_resnet34")
PDEResNet50 = _application(_resnet, "pde_resnet50")
PDEResNet101 = _application(_resnet, "pde_resnet101")
PDEPreActResNet20 = _application(_preact_resnet, "pde_preact_resnet20")
PDEPreActResNet32 = _application(_preact_resnet, "pde_preact_resnet32")
PDEPreActResNet44 = _application(_preact_resnet, "pde_preact_resnet44")
PDEPreActResNet56 = _application(_preact_resnet, "pde_preact_resnet56")
PDEPreActResNet110 = _application(_preact_resnet, "pde_preact_resnet110")
DecomposedResNet18 = _application(_resnet, "decomposed_resnet18")
DecomposedResNet34 = _application(_resnet, "decomposed_resnet34")
DecomposedResNet50 = _application(_resnet, "decomposed_resnet50")
DecomposedResNet101 = _application(_resnet, "decomposed_resnet101")
DecomposedPreActResNet20 = _application(_preact_resnet, "decomposed_preact_resnet20")
DecomposedPreActResNet32 = _application(_preact_resnet, "decomposed_preact_resnet32")
DecomposedPreActResNet44 = _application(_preact_resnet, "decomposed_preact_resnet44")
DecomposedPreActResNet56 = _application(_preact_resnet, "decomposed_preact_resnet56")
DecomposedPreActResNet110 = _application(_preact_resnet, "decomposed_preact_resnet110")
HyperbolicResNet18 = _application(_hyperbolic_resnet, "hyperbolic_resnet18")
HyperbolicResNet34 = _application(_hyperbolic_resnet, "hyperbolic_resnet34")
HyperbolicResNet50 = _application(_hyperbolic_resnet, "hyperbolic_resnet50")
HyperbolicResNet101 = _application(_hyperbolic_resnet, "hyperbolic_resnet101")
HyperbolicResNet20 = _application(_hyperbolic_resnet, "hyperbolic_resnet20")
HyperbolicResNet38 = _application(_hyperbolic_resnet, "hyperbolic_resnet38")
HyperbolicResNet56 = _application(_hyperbolic_resnet, "hyperbolic_resnet56")
HyperbolicResNet74 = _application(_hyperbolic_resnet, "hyperbolic_resnet74")
PlainNet18 = _application(_plain_net, "plain_net18")
PlainNet34 = _application(_plain_net, "plain_net34")
PlainNet20 = _application(_plain_net, "plain_net20")
PlainNet56 = _application(_plain_net, "plain_net56")
VGG16 = _application(_plain_net, "vgg16")
RefinedPlainNet18 = _application(_refined_plain_net, "refined_plain_net18")
RefinedPlainNet34 = _application(_refined_plain_net, "refined_plain_net34")
RefinedPlainNet20 = _application(_refined_plain_net, "refined_plain_net20")
RefinedPlainNet56 = _application(_refined_plain_net, "refined_plain_net56")
RefinedVGG16 = _application(_refined_plain_net, "refined_vgg16")
