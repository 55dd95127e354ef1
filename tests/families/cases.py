"""The cases of all families."""

from tests.families import internvl, janus, minicpmv, qwen2_vl, smolvlm
from tests.families.case import FamilyCase

CASES: dict[str, FamilyCase] = {
    **internvl.CASES,
    **qwen2_vl.CASES,
    **smolvlm.CASES,
    **janus.CASES,
    **minicpmv.CASES,
}
