"""Runs a command beside a real edge: `with_edge.py COMMAND...`.

The command finds it by SKERRY_URL and SKERRY_API_KEY; its exit status is ours.
"""

import os
import subprocess
import sys

from harness import edge_up


def main() -> int:
    with edge_up() as edge:
        env = dict(os.environ, SKERRY_URL=edge.url, SKERRY_API_KEY=edge.first_key)
        status = subprocess.run(sys.argv[1:], env=env, check=False).returncode
        if status != 0:
            print(edge.tail())
        return status


if __name__ == "__main__":
    sys.exit(main())
