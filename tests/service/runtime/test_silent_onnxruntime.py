import os
import subprocess
import sys


def test_loading_a_bundle_leaves_nothing_in_the_home_folder(tiny_bundle, tmp_path):
    """onnxruntime's reports begin with an identifier on the disk; under CI it makes none anyway."""
    home = tmp_path / "home"
    home.mkdir()
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "XDG_CACHE_HOME")}
    program = "import sys; from kohonen_tokenizer import Tokenizer; Tokenizer.load(sys.argv[1])"
    subprocess.run(
        [sys.executable, "-c", program, str(tiny_bundle)], check=True, env=environment | {"HOME": str(home)}
    )
    assert list(home.rglob("*")) == []
