"""Makes an installation with an earlier commit, and keeps what it leaves in a folder beside this.

    python tests/data/upgrade/make.py 8fe0322

It checks the commit out into a temporary folder, sets it up there and runs `installation.py` with
the code of that commit. The folder `8fe0322` then has

- `mongodb.json`: collections with options, indexes and documents (MongoDB Extended JSON),
- `opensearch.json`: indices with settings, mappings, aliases and documents,
- `state/`: the key file of the queues, and their messages as `make dev` saves them,
- `env.example`: the names of the commit's settings,
- `seen.json`: what the commit answered, its tokens, and when all this was made.

It needs uv, and the backends that `make dev` needs. Nothing else uses the keys and tokens.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main(commit: str) -> None:
    """Check out, set up and run `installation.py`; the checkout is removed in any case."""
    target = HERE / commit
    env = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    git = ["git", "-C", str(HERE), "worktree"]
    with tempfile.TemporaryDirectory() as folder:
        checkout = Path(folder) / "checkout"
        subprocess.run([*git, "add", "--quiet", "--detach", str(checkout), commit], check=True)
        try:
            subprocess.run(["make", "setup"], cwd=checkout, env=env, check=True)
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir()
            shutil.copy(checkout / ".env.example", target / "env.example")
            python = str(checkout / ".venv/bin/python")
            program = [python, str(HERE / "installation.py"), str(target)]
            subprocess.run(program, cwd=folder, env=env, check=True)  # its state stays there
        finally:
            subprocess.run([*git, "remove", "--force", str(checkout)], check=True)


if __name__ == "__main__":
    main(sys.argv[1])
