"""The soft limit of open files is raised to the hard one."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING

import pytest

from daq.host.descriptors import ENOUGH, allow_many

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_soft_limit_becomes_the_hard_one() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    allowed = allow_many()
    assert allowed == resource.getrlimit(resource.RLIMIT_NOFILE)[0] == min(hard, ENOUGH)


def test_limit_that_cannot_be_raised_is_told(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))

    def refuse(*_: object) -> None:
        raise PermissionError("not in this sandbox")

    monkeypatch.setattr(resource, "setrlimit", refuse)
    assert allow_many() == 512
    assert "only 512 files can be open at once: not in this sandbox" in caplog.text
    monkeypatch.undo()
