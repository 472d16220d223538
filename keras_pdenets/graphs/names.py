"""The grammar of layers' names, `stage0_block1_conv1`, and the blocks that they tell of."""

import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple

_NAME = re.compile(r"stage(\d+)_(?:block(\d+)_)?(.+)")


class Position(NamedTuple):
    """What the name of a layer, or the path of its variable, says.

    Args:
        stage: Number of the stage: the layers of one width.
        block: Number of the block within it; None: a layer between blocks, or of a plain net.
        part: What the layer is within its block, such as `"conv1"`.
    """

    stage: int
    block: int | None
    part: str

    @property
    def block_name(self) -> str:
        """What all names of the block begin with, `"stage0_block1"`; "" without a block."""
        return "" if self.block is None else f"stage{self.stage}_block{self.block}"


@dataclass
class NamedBlock:
    """The layers of a block.

    Args:
        name: What their names begin with, such as `"stage0_block1"`.
        stage: Number of its stage.
        number: Number of the block in it.
        parts: The layers by the rest of their names.
    """

    name: str
    stage: int
    number: int
    parts: dict[str, Any] = field(default_factory=dict)


def parse(name: str) -> Position | None:
    """The `Position` that a name tells of, None where it is of another form.

    Example:
    >>> from keras_pdenets.graphs.names import parse
    >>> parse("stage0_block1_conv1/kernel")
    Position(stage=0, block=1, part='conv1/kernel')
    """
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    stage, block, part = match.groups()
    return Position(int(stage), None if block is None else int(block), part)


def blocks_of(model: Any) -> list[NamedBlock]:
    """The blocks of a net of this package by the names of its layers, in the order of the net."""
    blocks: dict[str, NamedBlock] = {}
    for layer in model.layers:
        place = parse(layer.name)
        if place is not None and place.block is not None:
            name = place.block_name
            new = NamedBlock(name, place.stage, place.block)
            blocks.setdefault(name, new).parts[place.part] = layer
    return list(blocks.values())
