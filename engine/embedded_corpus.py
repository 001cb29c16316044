"""Build the training corpus of the completion model from permissively licensed packages.

Fetches pinned packages with pip and npm, cleans their files, drops near-duplicates, holds whole
packages out for scoring and writes the rest, shuffled, as NUL-terminated documents in two files.
"""

import argparse
import io
import json
import lzma
import multiprocessing
import platform
import random
import re
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import embedded_packages as wanted

MB = 1_000_000
SEED = 20240607
PACKAGE_CAP = 25 * MB
QUOTA = {"python": 270 * MB, "js": 44 * MB, "c": 38 * MB, "other": 8 * MB}
PACKED_LIMIT = 54 * 1024 * 1024
HELD_OUT_BYTES, HELD_OUT_FILES = 900_000, 60


@dataclass
class Package:
    name: str
    version: str
    licence: str
    documents: list[tuple[str, str, str]] = field(default_factory=list)  # path, language, text
    notice: str = ""


def fetch(kind: str, spec: str, downloads: Path) -> Path | None:
    """The downloaded archive of one pinned package; a second call finds it in the cache."""
    folder = downloads / f"{kind}-{spec.replace('/', '_')}"
    folder.mkdir(parents=True, exist_ok=True)
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", spec]
    wheel = [*pip, "--only-binary=:all:"]
    attempts = {
        "npm": [["npm", "pack", "-s", spec]],
        "source": [[*pip, "--no-binary", spec.split("==")[0]]],
        "wheel": [wheel, [*wheel, "--python-version", "3.14"]],
    }[kind]
    for command in attempts:
        if not any(folder.iterdir()):
            subprocess.run(command, cwd=folder, capture_output=True, check=False)
    return next(folder.iterdir(), None)


def members(archive: Path) -> Iterator[tuple[str, bytes]]:
    """Paths and bytes of the archive's smaller files; without the top folder for tarballs."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as zipped:
            for info in zipped.infolist():
                if info.file_size <= wanted.FILE_LIMIT:
                    yield info.filename, zipped.read(info)
        return
    with tarfile.open(archive) as tarred:
        for member in tarred:
            content = tarred.extractfile(member) if member.isfile() else None
            if content and member.size <= wanted.FILE_LIMIT:
                yield member.name.partition("/")[2], content.read()


def standard_library() -> tuple[Package, list[tuple[str, bytes]]]:
    root = Path(sysconfig.get_paths()["stdlib"])
    files = [(p.relative_to(root).as_posix(), p.read_bytes()) for p in sorted(root.rglob("*.py"))]
    return Package("python", platform.python_version(), "PSF-2.0"), files


def pinned(kind: str, spec: str, downloads: Path) -> tuple[Package, list[tuple[str, bytes]]]:
    """One package, without its documents, and its files; none if it cannot be fetched."""
    name, version = spec.rsplit("@", 1) if kind == "npm" else spec.split("==")
    if (archive := fetch(kind, spec, downloads)) is None:
        return Package(name, version, "cannot be fetched"), []
    files = list(members(archive))
    ending = {"npm": "package.json", "source": "PKG-INFO"}.get(kind, ".dist-info/METADATA")
    found = sorted((p for p, _ in files if p.endswith(ending)), key=lambda p: p.count("/"))
    metadata = dict(files)[found[0]].decode("utf-8", "replace") if found else ""
    return Package(name, version, wanted.declared_licence(metadata)), files


def read_package(kind: str, entry: str, downloads: Path) -> Package:
    """Fetch one package, check its licence and clean its files; no documents if refused."""
    spec, _, chosen = entry.partition(":")
    folders = tuple(f + "/" for f in chosen.split(",") if f)
    package, files = standard_library() if kind == "stdlib" else pinned(kind, spec, downloads)
    if files and not wanted.permissive(package.licence):
        package.licence = f"refused: {package.licence[:80]}"
        return package
    for path, raw in files:
        if (language := wanted.language(path)) is None:
            if not package.notice and re.search(r"licen[cs]e|copying", path, re.IGNORECASE):
                package.notice = raw.decode("utf-8", "replace")
        elif (not folders or path.startswith(folders)) and (text := wanted.clean(path, raw)):
            package.documents.append((path, language, text))
    if kind == "npm" and not folders:  # sources rather than what was built from them
        sources = [d for d in package.documents if d[0].lower().startswith(("src/", "source/"))]
        package.documents = sources if len(sources) > 2 else package.documents
    return package


def significant(text: str) -> list[int]:
    """Hashes of the lines that say something, in order."""
    lines = (line.strip() for line in text.split("\n"))
    return [hash(s) for s in lines if len(s) >= 20 and not s.startswith(("import ", "from ", "//"))]


def deduplicate(packages: list[Package], held_out: list[Package]) -> Counter[str]:
    """Drop, in place, what repeats earlier files or the held-out ones; counts of each verdict."""
    held = {line for p in held_out for _, _, text in p.documents for line in significant(text)}
    seen, whole = set[int](), set[int]()

    def verdict(text: str) -> str:
        lines = significant(text)
        known = "".join("x" if line in held else " " for line in lines)
        if known.count("x") > 0.3 * len(lines) or "x" * 8 in known:
            return "held-out"
        unique = set(lines)
        repeats = sum(1 for line in lines if line in seen) > 0.6 * len(lines)
        if repeats or hash(text) in whole or len(unique) < 0.4 * len(lines):
            return "repeated"
        whole.add(hash(text))
        seen.update(unique)
        return "kept"

    outcome: Counter[str] = Counter()
    for package in packages:
        judged = [(verdict(document[2]), document) for document in package.documents]
        outcome.update(judgement for judgement, _ in judged)
        package.documents = [document for judgement, document in judged if judgement == "kept"]
    return outcome


def cap(packages: list[Package], rng: random.Random) -> None:
    """Thin the largest packages, file by file at random, until each language meets its quota."""
    for kind, quota in QUOTA.items():
        sizes = [sum(len(t) for _, k, t in p.documents if k == kind) for p in packages]
        level, limits = PACKAGE_CAP, [PACKAGE_CAP] * len(packages)
        while sum(map(min, sizes, limits)) > quota:
            level = int(level * 0.98)
            limits = [min(level * wanted.FAVOURED.get(p.name, 1), PACKAGE_CAP) for p in packages]
        for package, size, limit in zip(packages, sizes, limits, strict=True):
            rng.shuffle(package.documents)
            excess, kept = size - limit, []
            for document in package.documents:
                if document[1] == kind and excess > 0:
                    excess -= len(document[2])
                else:
                    kept.append(document)
            package.documents = kept


def write_held_out(packages: list[Package], target: Path) -> dict[str, list[str]]:
    """Pack a few non-test sources of each held-out package that ships its licence text."""
    packages = [p for p in packages if p.notice]
    rng = random.Random(SEED)
    room, share = HELD_OUT_BYTES, HELD_OUT_FILES // max(1, len(packages))
    listing: dict[str, list[str]] = {}
    with tarfile.open(target, "w:xz") as tarred:
        for package in packages:
            files = [(p, t) for p, _, t in package.documents if not wanted.TEST_PATH.search(p)]
            files = [(p, t) for p, t in files if 1000 <= len(t) <= 80_000]
            files = rng.sample(sorted(files), min(share, len(files)))
            root = f"{package.name}-{package.version}"
            for path, text in [("LICENSE", package.notice), *files]:
                info = tarfile.TarInfo(f"{root}/{path}")
                info.size = len(text.encode())
                if info.size <= room:
                    room -= info.size
                    tarred.addfile(info, io.BytesIO(text.encode()))
                    listing.setdefault(root, []).append(path)
    return listing


def pack(target: Path, rows: list[tuple[str, str, bytes]]) -> int:
    """Compress documents until the file reaches its limit; how many went in."""
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9, "dict_size": 1 << 28}]
    packer = lzma.LZMACompressor(lzma.FORMAT_XZ, filters=filters)
    packed = 0
    with target.open("wb") as out:
        for _, _, text in rows:
            if out.tell() > PACKED_LIMIT // 2 - MB // 2:
                break
            out.write(packer.compress(text + b"\0"))
            packed += 1
        out.write(packer.flush())
    return packed


def read_packages(downloads: Path, only: str | None) -> tuple[list[Package], list[Package]]:
    """The packages to train on and those held out, less those that gave nothing."""
    held = [(kind, s) for kind, specs in wanted.HELD_OUT.items() for s in specs.split()]
    entries = [(kind, s) for kind, specs in wanted.PACKAGES.items() for s in specs.split()]
    chosen = [e for e in [("stdlib", ""), *entries] if not only or re.match(only, e[1])]
    tasks = [(kind, entry, downloads) for kind, entry in held + chosen]
    with multiprocessing.Pool(2) as pool:
        packages = pool.starmap(read_package, tasks, chunksize=1)
    for package in packages:
        if not package.documents:
            print(f"nothing from {package.name} {package.version}: {package.licence}")
    held_out = [p for p in packages[: len(held)] if p.documents]
    return [p for p in packages[len(held) :] if p.documents], held_out


def write_corpus(packages: list[Package], rng: random.Random, out: Path) -> dict[str, Counter[str]]:
    """The documents, shuffled, in two files; how much of each package went in."""
    rows = [(p.name, kind, text.encode()) for p in packages for _, kind, text in p.documents]
    rng.shuffle(rows)
    jobs = [(out / f"corpus-{i}.bin.xz", rows[i::2]) for i in (0, 1)]
    with multiprocessing.Pool(2) as pool:
        counts = pool.starmap(pack, jobs, chunksize=1)
    packed: dict[str, Counter[str]] = {p.name: Counter() for p in packages}
    for (_, half), count in zip(jobs, counts, strict=True):
        for name, kind, text in half[:count]:
            packed[name].update({"files": 1, "bytes": len(text), kind: len(text)})
    print(f"left out for size: {len(rows) - sum(counts)}")
    return packed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--downloads", type=Path, help="cache of archives (default: OUT/../dl)")
    parser.add_argument("--only", help="regular expression of package names, for a trial run")
    options = parser.parse_args()
    downloads = (options.downloads or options.out.parent / "dl").resolve()
    options.out.mkdir(parents=True, exist_ok=True)
    rng = random.Random(SEED)
    packages, held_out = read_packages(downloads, options.only)
    outcome = deduplicate(packages, held_out)
    cap(packages, rng)
    packed = write_corpus(packages, rng, options.out)
    totals = sum(packed.values(), Counter())
    listed = [
        {"package": p.name, "version": p.version, "licence": p.licence, **packed[p.name]}
        for p in packages
    ]
    held = write_held_out(held_out, options.out / "heldout.tar.xz")
    manifest = {"totals": totals, "outcome": outcome, "packages": listed, "held_out": held}
    (options.out / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
    for row in sorted(listed, key=lambda row: -row.get("bytes", 0)):
        size = row.get("bytes", 0) / MB
        print(f"{row['package']:32} {row['version']:12} {size:7.2f} MB  {row['licence'][:40]}")
    print(f"{dict(totals)}; {dict(outcome)}")


if __name__ == "__main__":
    main()
