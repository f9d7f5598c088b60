import pytest

from npusim.errors import ConfigError
from npusim.runtime import isa


@pytest.fixture(autouse=True)
def fresh():
    isa.selected.cache_clear()
    yield
    isa.selected.cache_clear()


def test_fastest_available_by_default(monkeypatch):
    monkeypatch.delenv("NPUSIM_ISA", raising=False)
    assert isa.selected() == isa.available()[-1]


@pytest.mark.parametrize("name", isa.available())
def test_any_available_path_can_be_forced(monkeypatch, name):
    monkeypatch.setenv("NPUSIM_ISA", name)
    assert isa.selected() == name


def test_unknown_path_is_an_error(monkeypatch):
    monkeypatch.setenv("NPUSIM_ISA", "mmx")
    with pytest.raises(ConfigError, match=r"'mmx': unknown"):
        isa.selected()


def test_a_path_of_another_architecture_is_an_error(monkeypatch):
    monkeypatch.setenv("NPUSIM_ISA", "neon" if isa.AVX2 in isa.available() else "avx2")
    with pytest.raises(ConfigError, match="not available on this processor"):
        isa.selected()


def test_unavailable_path_is_an_error(monkeypatch):
    monkeypatch.setenv("NPUSIM_ISA", isa.AVX512_VNNI)
    monkeypatch.setattr(isa, "target_has", lambda features: not features)
    with pytest.raises(ConfigError, match=r"not available on this processor.*\n.*portable"):
        isa.selected()
