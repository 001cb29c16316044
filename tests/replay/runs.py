"""One variant of the bench, by a user of its own: what a process of `--jobs` does."""

import asyncio
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from cl_lsp import daemon
from tests.conftest import USERS, cl_lsp
from tests.replay.features import FEATURES
from tests.replay.holes import Hole, package_of
from tests.replay.measures import Tally
from tests.replay.session import Person, replay


@contextmanager
def user() -> Iterator[Path]:
    """A user of the machine, with a daemon of its own, which is stopped at the end."""
    with tempfile.TemporaryDirectory(prefix="clr") as name:
        folder = Path(name)
        places = {variable: str(folder / part) for variable, part in USERS}
        for place in places.values():
            Path(place).mkdir(mode=0o700)
        with patch.dict(os.environ, places):
            try:
                yield folder
            finally:
                cl_lsp("stop")
                for process in daemon._started:
                    process.wait(10)


def run(
    files: dict[str, str], variant: str, person: Person, many: bool, holes: list[Hole]
) -> Tally:
    """One variant, with a daemon that has nothing cached; `many`: the package's files are there."""
    feature = FEATURES.get(variant.removeprefix("-"))
    with user() as home:
        packages = {package_of(hole.path) for hole in holes}
        for path, text in files.items():
            if not many or package_of(path) not in packages:
                continue
            place = home / "w" / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
        (home / "w").mkdir(exist_ok=True)
        asked = [(hole, files[hole.path]) for hole in holes]
        if feature is None:
            return asyncio.run(replay(asked, home / "w", person, {}))
        with feature.off():
            return asyncio.run(replay(asked, home / "w", person, feature.settings))
