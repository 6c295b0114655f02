"""The audit logs of other systems that fill half of a large tenant.

Real logs are used where somebody put them beside the checkout. A clone alone has `examples/`. The
same few events are then stored again and again: they compress better and hold fewer words, so such
figures can be compared with each other only.
"""

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
#: Files by mapping; of the real logs, those with many events.
REAL: Final = {
    "windows-security": "windows-security-otrf.ndjson.gz",
    "cloudtrail": "cloudtrail-invictus.ndjson.gz",
    "kubernetes": "kubernetes-audit-immudb.ndjson.gz",
}
REAL_FOLDER: Final = ROOT.parent / "shared/data"
EXAMPLES: Final = ROOT / "examples"


def source(real: Path = REAL_FOLDER) -> str:
    """Return where the events come from: `real logs` or `examples`."""
    return "real logs" if all((real / file).is_file() for file in REAL.values()) else "examples"


def foreign_lines(real: Path = REAL_FOLDER) -> Iterator[tuple[str, list[bytes]]]:
    """Yield the name of a mapping and the lines that it reads.

    Args:
        real: the folder of the real logs; where one of them is missing, the examples are read.
    """
    from_examples = source(real) == "examples"
    for mapping, file in REAL.items():
        if from_examples:
            content = (EXAMPLES / f"{mapping}.ndjson").read_bytes()
        else:
            content = gzip.decompress((real / file).read_bytes())
        yield mapping, content.splitlines()
