"""How long a 1x3 and a 3x1 convolution take in ONNX Runtime, against the 3x3 that they replace.

python tuning/widths.py   # writes tuning/results/convert/widths.csv

Two layers in a row, ReLU behind; processor time of one thread, median of interleaved rounds.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from keras_pdenets.utils.machine import machine
from keras_pdenets.utils.tables import write_rows

CASES = ((16, 28, 16), (32, 14, 16), (64, 7, 32), (64, 32, 4), (128, 16, 8), (256, 8, 8))
SHARES = (0.25, 0.375, 0.5, 0.625, 0.75, 1.0)


def chain(kernels, channels, side, batch):
    """A function that runs convolutions one after the other."""
    rng, nodes, weights, x = np.random.default_rng(0), [], [], "x"
    for index, (height, width, given, filters) in enumerate(kernels):
        kernel = rng.normal(size=(filters, given, height, width)).astype("float32")
        weights.append(numpy_helper.from_array(kernel, f"kernel{index}"))
        pads = [height // 2, width // 2] * 2
        nodes.append(helper.make_node("Conv", [x, f"kernel{index}"], [f"y{index}"], pads=pads))
        x = f"y{index}"
    nodes.append(helper.make_node("Relu", [x], ["out"]))
    shape = [batch, channels, side, side]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in ("x", "out")]
    graph = helper.make_graph(nodes, "chain", ends[:1], ends[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    images = rng.normal(size=shape).astype("float32")
    return lambda: session.run(None, {"x": images})


def main():
    """Measure all cases."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--out", type=Path, default=Path("tuning/results/convert/widths.csv"))
    options, rows = parser.parse_args(), []
    for n, *case in CASES:
        runs = {n: chain([(3, 3, n, n)] * 2, n, *case)}
        middles = [round(share * n) for share in SHARES]
        for m in middles:
            runs["rows first", m] = chain([(1, 3, n, m), (3, 1, m, n)] * 2, n, *case)
            runs["columns first", m] = chain([(3, 1, n, m), (1, 3, m, n)] * 2, n, *case)
        times = {key: [] for key in runs}
        for _ in range(options.rounds):
            for key, run in runs.items():
                begin = time.process_time()
                run()
                times[key].append(time.process_time() - begin)
        found = {key: np.median(values) for key, values in times.items()}
        rows += [
            {"filters": n, "side": case[0], "middle": m, "operations": round(2 * m / (3 * n), 3)}
            | {which: round(found[which, m] / found[n], 2)
               for which in ("rows first", "columns first")}
            | {"machine": machine()}
            for m in middles
        ]  # fmt: skip
    write_rows(options.out, rows)


if __name__ == "__main__":
    main()
