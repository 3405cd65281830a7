"""The wheel holds the library and nothing else, and works outside the checkout."""

from __future__ import annotations

import importlib
import pkgutil
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

import strongticket

ROOT = Path(strongticket.__file__).resolve().parents[1]
pytestmark = pytest.mark.skipif(not (ROOT / "pyproject.toml").exists(), reason="not run from a checkout")


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    copy = folder / "checkout"  # building in place would leave a build folder there, and take in a stale one
    copy.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    for room in ("strongticket", "theory", "experiments", "paper_figs", "tests"):
        shutil.copytree(ROOT / room, copy / room, ignore=shutil.ignore_patterns("__pycache__"))
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, copy, cwd=folder)
    (found,) = folder.glob("strongticket-*.whl")
    return found


def test_the_wheel_holds_only_strongticket(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"strongticket"}
    source = {str(path.relative_to(ROOT)) for path in (ROOT / "strongticket").rglob("*.py")}
    data = {str(path.relative_to(ROOT)) for path in (ROOT / "strongticket" / "tables").glob("*") if path.is_file()}
    assert source | data | {"strongticket/py.typed"} <= set(names)


def test_the_wheel_installs_and_works_in_a_clean_environment(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel, cwd=tmp_path)
    # the six core packages come from this environment; everything else is out of reach
    core = Path(importlib.import_module("torch").__file__ or "").parents[1]
    program = f"""
import sys
sys.path.append({str(core)!r})
for name in ("numba", "hypothesis", "rich", "tyro", "sklearn", "pooch"):
    sys.modules[name] = None
import torch, strongticket
assert "{tmp_path}" in strongticket.__file__, strongticket.__file__
layers = torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2)
target = strongticket.Target.from_module(torch.nn.Sequential(*layers))
result = strongticket.construct(target, weight_eps=0.05, items=14, seed=1)
ticket = result.best
from strongticket.certify import certify
certificate = certify(ticket, target, strongticket.Domain.ball(1))
ticket = ticket.with_certificates(certificate)
strongticket.save("t.slt", ticket)
assert strongticket.load("t.slt") == ticket
print(certificate)
"""
    assert "PROVED" in run(python, "-c", program, cwd=tmp_path)


def test_importing_loads_nothing_heavy_and_costs_little_more_than_torch(tmp_path: Path) -> None:
    program = "import sys; before = set(sys.modules); import torch; mid = set(sys.modules); import strongticket;"
    heavy = "{'sympy', 'matplotlib', 'hypothesis', 'numba', 'rich', 'tyro', 'sklearn', 'pooch', 'pandas'}"
    program += f"print(sorted({heavy} & (set(sys.modules) - mid)))"
    assert run(sys.executable, "-c", program, cwd=tmp_path).strip() == "[]"
    # a direct count instead of a stopwatch: modules loaded beside torch's own
    program = "import torch, sys; n = len(sys.modules); import strongticket; print(len(sys.modules) / n)"
    assert float(run(sys.executable, "-c", program, cwd=tmp_path)) < 1.5


def test_every_exported_name_exists() -> None:
    packages = ["strongticket", *(f"strongticket.{m.name}" for m in pkgutil.iter_modules(strongticket.__path__))]
    for package in packages:
        if package.rsplit(".", 1)[-1].startswith("__"):
            continue
        module = importlib.import_module(package)
        for name in getattr(module, "__all__", ()):
            assert hasattr(module, name), f"{package} exports {name}, which does not exist"
