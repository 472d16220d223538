"""Exported files of strangers: what is refused, and what the documents say of the rest."""

import importlib
import json
import os
import pickle
import warnings
import zipfile

import numpy as np
import pytest

from keras_pdenets.export import open_exported

pytestmark = pytest.mark.once
PROGRAM = "models/model.json"
WEIGHTS = "data/weights/model_weights_config.json"
CONSTANTS = "data/constants/model_constants_config.json"


class Runs:
    """Runs a command when it is unpickled."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """The parts of a .pt2 file by name, that of a net with any number of images."""
    torch = importlib.import_module("torch")

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.w = torch.nn.Parameter(torch.ones(3))

        def forward(self, x):
            return x * self.w

    path = tmp_path_factory.mktemp("pt2") / "net.pt2"
    batch = torch.export.Dim("batch")
    program = torch.export.export(Net(), (torch.ones(2, 3),), dynamic_shapes=({0: batch},))
    torch.export.save(program, path)
    with zipfile.ZipFile(path) as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


def _write(path, parts, method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in parts.items():
            archive.writestr(f"net/{name}", content)
    return path


def _changed(parts, name, change):
    document = json.loads(parts[name])
    change(document)
    return parts | {name: json.dumps(document).encode()}


def _evaluated(document, code):
    """The size of the batch is an expression."""
    for value in document["graph_module"]["graph"]["tensor_values"].values():
        for size in value["sizes"]:
            if "as_expr" in size:
                size["as_expr"]["expr_str"] = code


def _called(document, target, *texts):
    node = document["graph_module"]["graph"]["nodes"][0]
    node["target"] = target
    node["inputs"] += [{"name": "", "arg": {"as_string": text}, "kind": 1} for text in texts]


def _pickled(document):
    next(iter(document["config"].values()))["use_pickle"] = True


def _opaque(document):
    document["config"]["c"] = {
        "path_name": "opaque_obj_0", "is_param": False, "use_pickle": True, "tensor_meta": None,
    }  # fmt: skip


def _attacks(parts, mark):
    """Changed files by what they would do."""
    command = f"touch {mark}"
    code = f"__import__('os').system({command!r})"
    evil = pickle.dumps(Runs(command), 2)

    def program(change):
        return _changed(parts, PROGRAM, change)

    return {
        "sample inputs": parts | {"data/sample_inputs/model.pt": evil},
        "weights": _changed(parts, WEIGHTS, _pickled) | {"data/weights/weight_0": evil},
        "older weights": parts | {"data/weights/model.pt": evil},
        "older constants": parts | {"data/constants/model.pt": evil},
        "opaque object": _changed(parts, CONSTANTS, _opaque)
        | {"data/constants/opaque_obj_0": evil},
        "guards": program(lambda d: d.update(guards_code=[code])),
        "guards of calls": program(lambda d: d.update(guards_code=["eval(L)"])),
        "guards of attributes": program(lambda d: d.update(guards_code=["L.__class__ == 1"])),
        "size": program(lambda d: _evaluated(d, code)),
        "field of the name metadata": program(
            lambda d: d["graph_module"]["graph"]["tensor_values"].update(
                metadata={"sizes": [{"as_expr": {"expr_str": code}}]}
            )
        ),
        "function": program(lambda d: _called(d, "torch.os.system", command)),
        "operator that writes": program(lambda d: _called(d, "torch.ops.aten.save.default", mark)),
        "name": program(
            lambda d: d["graph_module"]["graph"]["inputs"][0]["as_tensor"].update(name=f"x={code}")
        ),
        "variable": program(
            lambda d: d["graph_module"]["signature"]["input_specs"][0]["parameter"].update(
                parameter_name=f'w" + {code} + "'
            )
        ),
        "tree": program(
            lambda d: d["graph_module"]["module_call_graph"][0]["signature"].update(
                in_spec='[1, {"type": "collections.defaultdict", "context": "{}", '
                '"children_spec": []}]'
            )
        ),
        "library": parts | {"data/aotinductor/model/net.so": b"\x7fELF"},
        "another program": parts | {"models/other.json": parts[PROGRAM]},
    }


def test_a_pt2_file_with_anything_but_a_net_is_refused(parts, tmp_path):
    assert open_exported(_write(tmp_path / "net.pt2", parts))(np.ones((4, 3))).shape == (4, 3)
    mark = tmp_path / "mark"
    attacks = _attacks(parts, str(mark))
    assert len(attacks) == 17
    for name, changed in attacks.items():
        path = _write(tmp_path / "evil.pt2", changed)
        with pytest.raises(ValueError, match=r"evil\.pt2 was not opened: .* torch\.export\.load"):
            open_exported(path)(np.ones((4, 3)))
        assert not mark.exists(), name


def test_a_pt2_file_is_an_archive_that_all_readers_read_alike(parts, tmp_path):
    path = tmp_path / "net.pt2"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of two parts with one name
        with zipfile.ZipFile(_write(path, parts), "a") as archive:
            archive.writestr(f"net/{PROGRAM}", "{}")
    with pytest.raises(ValueError, match="two of its parts have the same name"):
        open_exported(path)
    with pytest.raises(ValueError, match="its parts are compressed"):
        open_exported(_write(path, parts, zipfile.ZIP_DEFLATED))
    for content in (b"", b"PK", b"pickle"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"is not a \.pt2 file"):
            open_exported(path)
    with pytest.raises(ValueError, match=r"is not a \.pt2 file"):
        open_exported(_write(path, parts | {PROGRAM: b"{"}))


def test_onnx_files_read_no_other_folder(tmp_path):
    onnx = importlib.import_module("onnx")
    folder = tmp_path / "net"
    folder.mkdir()
    for place in (folder, tmp_path):
        (place / "w.bin").write_bytes(np.arange(3, dtype="float32").tobytes())
    for location in ("w.bin", "../w.bin", str(tmp_path / "w.bin")):
        weights = onnx.TensorProto(
            name="w", data_type=onnx.TensorProto.FLOAT, dims=[3],
            data_location=onnx.TensorProto.EXTERNAL,
        )  # fmt: skip
        entry = weights.external_data.add()
        entry.key, entry.value = "location", location
        ends = [onnx.helper.make_tensor_value_info(name, 1, ["n", 3]) for name in "xy"]
        add = onnx.helper.make_node("Add", ["x", "w"], ["y"])
        graph = onnx.helper.make_graph([add], "net", ends[:1], ends[1:], [weights])
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)])
        model.ir_version = 9
        (folder / "net.onnx").write_bytes(model.SerializeToString())
        if location == "w.bin":
            assert open_exported(folder / "net.onnx")(np.zeros((1, 3))).tolist() == [[0, 1, 2]]
            continue
        with pytest.raises(Exception, match=r"(escapes|not allowed)"):
            open_exported(folder / "net.onnx")


@pytest.mark.slow
def test_the_documents_say_that_a_saved_model_can_write(tmp_path):
    tf = importlib.import_module("tensorflow")
    mark = tmp_path / "mark"

    class Net(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((None, 3), tf.float32)])
        def serve(self, x):
            tf.io.write_file(str(mark), "written")
            return x

    net = Net()
    tf.saved_model.save(net, tmp_path / "net", signatures={"serve": net.serve})
    open_exported(tmp_path / "net")(np.zeros((1, 3)))
    assert mark.exists()
    text = " ".join(open_exported.__doc__.split())
    assert "A SavedModel is a program that can read and write files" in text
