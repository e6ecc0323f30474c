"""The wheel carries the suites and the baselines, and works from an empty folder."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """Run a command that has to succeed, and return its output."""
    env = {**os.environ, **environment}
    done = subprocess.run([str(c) for c in command], cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new virtual environment with the built wheel; its dependencies come from the environment of the tests."""
    folder = tmp_path_factory.mktemp("packaging")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ".", cwd=ROOT)
    run(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    [site] = (folder / "venv" / "lib").glob("python*/site-packages")
    (site / "lent.pth").write_text(sysconfig.get_paths()["purelib"])
    [wheel] = folder.glob("*.whl")
    run(folder / "venv/bin/python", "-m", "pip", "install", "--quiet", "--no-deps", wheel, cwd=folder)
    return folder / "venv/bin"


@pytest.mark.slow
def test_the_wheel_runs_the_suites_from_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    """`pytest $(bob suites) --backbone=...` measures settings without a clone of the repository."""
    path = f"{installed}{os.pathsep}{os.environ['PATH']}"
    suites = run(installed / "bob", "suites", cwd=tmp_path, PATH=path).strip()
    assert Path(suites).is_dir()
    assert Path(suites).is_relative_to(installed.parent), "the wheel's own suites, not those of a clone"
    assert list(Path(suites).parent.glob("baselines/mini/scores.csv"))
    out = run(
        installed / "python", "-m", "pytest", suites, "--backbone=random:test_resnet",
        "-k", "digits and not finetune and not low_shot", cwd=tmp_path, PATH=path,
    )  # fmt: skip
    assert "4 passed" in out, "linear probe, kNN and calibration of digits, and fonts to digits"
    assert (tmp_path / ".bob").is_dir()


@pytest.mark.slow
def test_the_wheel_carries_the_papers_figures_and_the_page(installed: Path, tmp_path: Path) -> None:
    """Ranking, analysis and report work without a clone of the repository, from an empty folder."""
    assert "ConvNeXt-Tiny supervised (IN-1k)" in run(installed / "bob", "rank", "--pool", "paper-small", cwd=tmp_path)
    assert "-0.8278" in run(installed / "bob", "analyse", "calibration", cwd=tmp_path)
    run(installed / "bob", "report", "--pool", "paper", "-o", "r.html", cwd=tmp_path)
    assert (tmp_path / "r.html").stat().st_size > 100_000
