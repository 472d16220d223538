"""The residual blocks of a net of this package, as steps that can be replayed."""

from dataclasses import dataclass, field
from typing import Any

import keras

from keras_pdenets.graphs.names import parse


@dataclass(frozen=True)
class BlockCalls:
    """The calls of one block.

    Args:
        name: Prefix of its layers' names, such as `"stage0_block1"`.
        calls: Its calls (`graphs.graph.Call`), in order.
        entry: Its symbolic input.
        end: Index of the call that adds the step to the input; None: its shortcut has weights.
    """

    name: str
    calls: list[Any]
    entry: Any
    end: int | None

    @property
    def output(self):
        """Its symbolic output."""
        return self.calls[-1].outputs[0]


@dataclass
class Section:
    """The blocks of a stage.

    Args:
        fixed: Blocks whose shortcut has weights; they come first.
        steps: The others.
        count: New number of steps.
    """

    fixed: list[BlockCalls] = field(default_factory=list)
    steps: list[BlockCalls] = field(default_factory=list)
    count: int = 0

    @property
    def factor(self):
        """Factor on the step size."""
        return len(self.steps) / self.count if self.count else 1.0

    def source(self, index):
        """The old block at the time of a new step."""
        # In integers: rounding would pick the wrong block at some depths.
        return self.steps[(2 * index + 1) * len(self.steps) // (2 * self.count)]


def read_sections(model, graph):
    """The sections of a net.

    Args:
        model: The net.
        graph: Its `Graph`.

    Raises:
        ValueError: If there are no blocks, or they cannot be replayed.
    """
    calls = {}
    for call in graph.calls:
        place = parse(call.layer.name)
        if place and place.block is not None:
            calls.setdefault((place.stage, place.block_name), []).append(call)
    if not calls:
        raise ValueError(
            "`model` must be a residual net of this package, not nested in another, with layers "
            f"named stage0_block0_... Received: {model.name!r}"
        )
    sections = {}
    for (stage, name), of_block in calls.items():
        section = sections.setdefault(stage, Section())
        block = _block(graph.part(of_block, name))
        if block.end is None and section.steps:
            raise ValueError(
                f"`model` must have projections only at the start of a section. Received: {name}"
            )
        (section.fixed if block.end is None else section.steps).append(block)
    return [sections[stage] for stage in sorted(sections)]


def _block(part):
    name, calls = part.name, part.calls
    if len(part.inputs) != 1:
        raise ValueError(
            f"`model` must have blocks with one input. Received: {name} with {len(part.inputs)}"
        )
    (entry,) = part.inputs
    ends = [
        i for i, call in enumerate(calls)
        if isinstance(call.layer, keras.layers.Add) and any(t is entry for t in call.inputs)
    ]  # fmt: skip
    if not ends:
        return BlockCalls(name, calls, entry, None)
    behind = [call.layer for call in calls[ends[-1] + 1 :]]
    # ReLU is idempotent.
    strange = [x.name for x in behind if not isinstance(x, keras.layers.ReLU)]
    if strange:
        raise ValueError(
            "`model` must have blocks that end in their sum or in ReLU, which may be repeated "
            f"without effect. Received: {', '.join(strange)}"
        )
    return BlockCalls(name, calls, entry, ends[-1])
