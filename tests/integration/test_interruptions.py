"""Sessions that a signal ends in the middle of a training with loader processes; the same command continues them."""

import signal
from pathlib import Path

import pytest

from bob_gauntlet.scores.store import Store
from tests.helpers.plugin_suite import SETTINGS, SUITE
from tests.helpers.signalled import SignalledSession

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="processes are counted in /proc")

TRAINED = "retrieval@copydays-mini"
"""The setting that trains until a signal comes. It runs alone, so others come before it."""

LOADERS = 2


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of artefacts that all these tests share."""
    return tmp_path_factory.mktemp("artifacts")


def start(folder: Path, cache: Path, *options: str, plan: str) -> SignalledSession:
    """Start the quick suite, in which happens what the plan says."""
    (folder / "test_quick.py").write_text(SUITE)
    (folder / "pytest.ini").write_text("[pytest]\ntestpaths = test_quick.py\naddopts = -k 'not scenes'\n")
    (folder / "plan.txt").write_text(plan)
    backbone = "--bob-backbone=random:test_resnet"
    return SignalledSession(
        folder, "-pbob_gauntlet.plugin", backbone, f"--bob-cache={cache}", "--bob-pool=none", *options
    )


def measured(folder: Path) -> list[str]:
    """Return the settings that have a score in the store."""
    return sorted(score.setting for score in Store(folder / ".bob/store").latest().values())


def wait_for_training(session: SignalledSession) -> None:
    """Wait until the training runs with its loader processes, and another setting has a score."""
    session.wait_until(lambda: len(session.loaders()) == LOADERS and (session.folder / "steps.txt").exists())
    session.wait_until(lambda: bool(measured(session.folder)))


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("name", "group"), [("SIGINT", True), ("SIGTERM", False), ("SIGHUP", True), ("SIGKILL", False)]
)
def test_a_session_ends_within_a_training(tmp_path: Path, cache: Path, name: str, group: bool, workers: int) -> None:
    """Every process ends, finished scores are stored, and the same command measures the others."""
    with start(tmp_path, cache, f"-n{workers}", plan=f"{TRAINED} train") as session:
        wait_for_training(session)
        before = measured(tmp_path)
        session.send(getattr(signal, name), group=group)
        session.seconds_until_gone()
        done = len(measured(tmp_path))
        if name != "SIGKILL":
            assert session.process.returncode == 2
            cause = "Ctrl-C" if name == "SIGINT" else name
            line = f"Interrupted by {cause}: {done} of 6 settings have scores. To continue: pytest "
            assert f"{line}-pno:cacheprovider -pxdist -pbob_gauntlet.plugin --bob-backbone=random" in session.text
            for noise in ("Traceback", "Error", "crashed", "failed: ", "Warning"):
                assert noise not in session.text
    assert set(before) <= set(measured(tmp_path)) < set(SETTINGS)
    with start(tmp_path, cache, f"-n{workers}", plan="") as session:
        session.wait_until(lambda: session.process.poll() is not None)
        assert session.process.returncode == 0
        assert f"{done} were already in the store" in session.text
    assert measured(tmp_path) == sorted(SETTINGS)


@pytest.mark.slow
def test_ctrl_c_while_a_backbone_is_loaded(tmp_path: Path, cache: Path) -> None:
    """Where nothing is measured yet, the session says so, and how to continue, before any worker has started."""
    source = "import time\nfrom pathlib import Path\n\ndef build():\n    Path('loading').touch()\n    time.sleep(60)\n"
    (tmp_path / "slow.py").write_text(source)
    with start(tmp_path, cache, "--bob-backbone=slow:build", "-n2", plan="") as session:
        session.wait_until((tmp_path / "loading").exists)
        session.send(signal.SIGINT, group=True)
        session.seconds_until_gone()
        assert session.process.returncode == 2
        assert (
            "Interrupted by Ctrl-C before the first score, so there is no ranking. To continue: pytest " in session.text
        )
        assert "Traceback" not in session.text
