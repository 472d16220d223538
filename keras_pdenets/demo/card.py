"""The card of the page's Space, which the Hub reads its settings from."""

from huggingface_hub import SpaceCardData

from keras_pdenets.demo.nets import SHOWN_NETS


def space_card(runtime_version):
    """The card in Markdown, its metadata before it.

    Args:
        runtime_version: Version of ONNX Runtime Web.

    Returns:
        The text.
    """
    data = SpaceCardData(
        title="Watch a net think",
        emoji="\N{WATER WAVE}",
        colorFrom="blue",
        colorTo="indigo",
        sdk="static",
        app_file="index.html",
        pinned=False,
        license="apache-2.0",
        short_description="Nets designed as differential equations, run in the browser",
        datasets=["zalando-datasets/fashion_mnist"],
        tags=["keras_pdenets", "partial-differential-equations", "onnx"],
    )
    rows = "\n".join(f"- **{row.title}** (`{row.preset}`): {row.about}" for row in SHOWN_NETS)
    return f"""---
{data.to_yaml()}
---

# Watch a net think

Draw or choose a small picture of clothes, and see five nets answer, side by side; then look inside
one: what its blocks make of the picture, how much each changes it, and the way that it takes among
the ways of the classes. Halve or double the steps, put noise on the weights, take a block out.

{rows}

Everything runs in the browser, on the CPU; nothing is sent anywhere. Written by
`keras-pdenets demo`; on your own machine `python -m http.server` in this folder serves it.

Code and weights: Apache-2.0. The sample images are Fashion-MNIST's (`samples_LICENSE`, MIT, Zalando
SE). ONNX Runtime Web {runtime_version} is Microsoft's (`runtime/LICENSE`, MIT; what is compiled in:
`runtime/ThirdPartyNotices.txt`).
"""
