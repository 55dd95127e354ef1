"""Patients."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.doctor import card
from gateway.doctor.patient import Orders, Patient
from tests.doctor.cards import Examined
from tests.doctor.hosts import healthy


@pytest.fixture
def examined(tmp_path: Path) -> Iterator[Examined]:
    """A patient with an open card."""
    opened: list[Patient] = []

    def build(axcl: Any, model: Path | None = None) -> Patient:
        orders = Orders(healthy(tmp_path / str(len(opened))), "card", 0, model, tmp_path / "axcl-smi")
        patient = Patient(orders)
        patient.axcl = axcl
        opened.append(patient)
        assert card.opened(patient).status == "ok"
        return patient

    yield build
    for patient in opened:
        patient.undo.close()
