"""The store: every score that was ever measured, as JSON lines, one file a run.

A line is written whole, flushed and fsynced as soon as its test ends; files are never rewritten. Of two scores with the
same identity the later one counts.
"""

import json
import logging
import os
import secrets
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from bob_gauntlet.errors import BobError, UsageError
from bob_gauntlet.scores.json_types import load_json
from bob_gauntlet.scores.score import Identity, Score

log = logging.getLogger(__name__)


class Store:
    """The scores in one folder; several sessions may append at once, each to a file of its own.

    >>> import tempfile
    >>> store = Store(Path(tempfile.mkdtemp()))
    >>> score = Score(setting="knn@photos", metric="top1", task="Cls", value=80.0, backbone="x")
    >>> store.append([score])
    >>> list(store.latest().values()) == [score]
    True
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self._file: Path | None = None
        # lines that could not be written yet; they are tried again at the next test
        self.unsaved: list[str] = []
        # what was said about files and lines that cannot be read: the store is read several times
        self._warnings: set[str] = set()

    def check(self) -> None:
        """Raise UsageError where the folder cannot be written."""
        probe = self.folder / f".probe-{secrets.token_hex(4)}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise UsageError(
                f"scores cannot be stored in {self.folder} ({error.strerror}); pass --bob-store DIR"
            ) from error

    def append(self, scores: Iterable[Score]) -> None:
        """Add scores to this run's file. Raises BobError where the disk refuses; the next call tries them again."""
        self.unsaved += [json.dumps(score.to_dict(), ensure_ascii=False, allow_nan=False) for score in scores]
        if not self.unsaved:
            return
        if self._file is None:
            stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
            self._file = self.folder / f"{stamp}-{secrets.token_hex(3)}.jsonl"
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            _append_whole(self._file, "".join(line + "\n" for line in self.unsaved).encode())
        except OSError as error:
            raise BobError(f"{len(self.unsaved)} scores are not stored: {self._file}: {error.strerror}") from error
        self.unsaved.clear()

    def latest(self) -> dict[Identity, Score]:
        """Return identity -> the last score with it, in the order in which they were written."""
        return {score.identity: score for score in self}

    def __iter__(self) -> Iterator[Score]:
        """Yield every stored score, oldest first; a damaged file or line is skipped, and one warning says so."""
        for path in sorted(self.folder.glob("*.jsonl")):
            for score in _read(path):
                if isinstance(score, Score):
                    yield score
                elif score not in self._warnings:
                    self._warnings.add(score)
                    log.warning("%s", score)


def _append_whole(path: Path, content: bytes) -> None:
    """Append all of `content` and fsync, or leave the file as long as it was."""
    with path.open("ab") as file:
        before = file.tell()
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        except OSError:
            os.truncate(path, before)
            raise


def _read(path: Path) -> Iterator[Score | str]:
    """Yield the scores of a file, and in the place of a file or line that cannot be read the reason."""
    try:
        content = path.read_bytes()
    except OSError as error:
        yield f"{path} cannot be read ({error.strerror}) and is skipped"
        return
    for number, line in enumerate(content.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            yield Score.from_dict(load_json(line))
        except (ValueError, BobError) as error:
            yield f"line {number} of {path} is damaged and skipped: {error}"
