"""The grammar of layer names, `stage0_block1_conv1`, and the blocks of a net by it."""

import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple

_NAME = re.compile(r"stage(\d+)_(?:block(\d+)_)?(.+)")


class Position(NamedTuple):
    """The position of a layer, parsed from its name or the path of its variable.

    Args:
        stage: Number of the stage: the layers of one width.
        block: Number of the block in it; None: a layer between blocks, or of a plain net.
        part: The rest of the name, such as `"conv1"`.
    """

    stage: int
    block: int | None
    part: str

    @property
    def block_name(self) -> str:
        """The common prefix of the names of the block, `"stage0_block1"`; "" without a block."""
        return "" if self.block is None else f"stage{self.stage}_block{self.block}"


@dataclass
class NamedBlock:
    """The layers of a block.

    Args:
        name: Prefix of their names, such as `"stage0_block1"`.
        stage: Number of its stage.
        number: Number of the block in its stage.
        parts: The layers, by the rest of their names.
    """

    name: str
    stage: int
    number: int
    parts: dict[str, Any] = field(default_factory=dict)


def parse(name: str) -> Position | None:
    """The `Position` in a name, or None for a name of another form.

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
    """The blocks of a net of this package, in order, by the names of its layers."""
    blocks: dict[str, NamedBlock] = {}
    for layer in model.layers:
        place = parse(layer.name)
        if place is not None and place.block is not None:
            name = place.block_name
            new = NamedBlock(name, place.stage, place.block)
            blocks.setdefault(name, new).parts[place.part] = layer
    return list(blocks.values())
