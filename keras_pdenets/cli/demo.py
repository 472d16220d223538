"""The command that writes the page which runs the nets in a browser."""

from keras_pdenets.cli.arguments import add_command, path


def add_commands(commands):
    """Add the command to the parser."""
    demo = add_command(
        commands, "demo", _demo, "keras-pdenets demo --out page",
        help="write a web page on which the nets run and show what they do",
        description="Write a folder of static files for any web server, or a Space of the Hub: a "
        "page on which five of the nets run in the browser. ONNX Runtime Web comes from its npm "
        "package: npm fetches it, or --runtime names the folder of the unpacked package.",
        reads=("runtime",),
    )  # fmt: skip
    demo.add_argument("--out", type=path, required=True, help="a folder, empty or not there yet")
    demo.add_argument(
        "--runtime", type=path, help="folder of the unpacked npm package onnxruntime-web"
    )


def _demo(options):
    from keras_pdenets.demo import write_demo

    folder = write_demo(options.out, options.runtime)
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    print(f"Done: {folder} ({size / 1e6:.1f} MB)")
    print(f'See it: python -m http.server --directory "{folder}", then http://localhost:8000')
    return 0
