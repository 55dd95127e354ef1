"""Write tests/export/golden/transformers.npz: what transformers computes for the cases of tests/export.

python -m scripts.golden.export_qwen3_vl
"""

from pathlib import Path
from tempfile import TemporaryDirectory

from tests.export.cases import CASES, Case
from tests.export.expected import Expected, keep
from tests.export.reference import expected


def answer(case: Case) -> Expected:
    with TemporaryDirectory() as folder:
        return expected(case, case.write_checkpoint(Path(folder) / "checkpoint"))


if __name__ == "__main__":
    keep({name: answer(case) for name, case in CASES.items()})
