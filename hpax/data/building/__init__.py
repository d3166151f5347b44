"""Builds a data set once, all or nothing, and opens it."""

import contextlib
import importlib
import io
import logging
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tensorflow_datasets as tfds

import hpax
from hpax import files
from hpax.data import archive, failures
from hpax.data.builder import Builder, Config
from hpax.data.data_sets import DATA_SETS
from hpax.data.source import Source, filled_splits, intact, write_index
from hpax.formats import tables

log = logging.getLogger(__name__)

DIGESTS = ".digests.json"  # in a data_dir, where sources are large
_DRAFT = "draft"  # in a workshop: what TFDS makes of finished shards


def build(
    name: str,
    data_dir: str | os.PathLike,
    *,
    split: str = "all",
    source: str | os.PathLike | None = None,
    progress: bool = False,
    workers: int = 1,
    beam: Sequence[str] | None = None,
    **options: Any,
) -> Source:
    """The data set `name` under `data_dir`, built first if it is not there.

    `options` are the fields of the data set's Config; they and a fingerprint of `source`, the folder that a data set
    of real images is read from, are part of the folder's name. The fingerprint covers names and contents of all files.
    A data set appears complete or not at all. A `source` may also be a zip archive, or a
    folder with nothing else in it, as Kaggle delivers: it is unpacked below `data_dir`/unpacked, once.

    Finished shards of a build that is killed or runs out of disk wait in a hidden `.building-*` folder; the same call
    verifies them and writes the others.

    Fields, crops or images whose files are bad are left out, named in a warning and in the data set's failures.csv;
    only if nothing is left, nothing is built.

    `workers` processes share a build and change none of its bytes; more than one needs a `__main__` guard in the
    calling script. Neither does `beam`, the flags of an Apache Beam pipeline that writes the shards, such as
    `["--runner=DirectRunner"]`: its workers must see `data_dir` and `source` under the same paths.

    Raises:
        ValueError: unknown data set or option, a missing or unneeded `source`, an empty split, or bad input files.
        FileNotFoundError: `source` lacks the expected files.
    """
    if beam is not None and workers > 1:
        raise ValueError(f"workers share a build on this machine, got {workers} beside beam; leave one of them out")
    if name not in DATA_SETS:
        raise ValueError(f"no data set {name!r}; there are {', '.join(DATA_SETS)}")
    module = importlib.import_module(f"hpax.data.{name}")
    known = files.KnownDigests(pathlib.Path(data_dir, DIGESTS))
    config = _config(module, source, options, known)
    known.keep()  # before what may fail or be stopped
    with intact(pathlib.Path(data_dir, name, config.name)):
        builder = _create(module.DataSet, data_dir, config)
    if not pathlib.Path(builder.data_dir).exists():
        with _workshop(pathlib.Path(data_dir), builder.info.full_name) as workshop:
            unfinished = _create(module.DataSet, workshop / _DRAFT, config)
            unfinished.show_progress, unfinished.workers, unfinished.beam = progress, workers, beam
            unfinished.shards_folder = _make_shards(workshop)
            if source is not None and (packed := archive.locate(source)):
                source = archive.unpack(packed, pathlib.Path(data_dir) / "unpacked", progress=progress)
            _prepare(unfinished, source, workshop / _DRAFT / "downloads")
            _move(pathlib.Path(unfinished.data_dir), pathlib.Path(builder.data_dir))
        builder = _create(module.DataSet, data_dir, config)
    built = Source(builder, split)
    if built.failures:
        where = pathlib.Path(builder.data_dir, failures.NAME)
        log.warning("%s lacks what it should hold: %s (%s)", name, failures.summary(built.failures), where)
    return built


def _config(
    module: Any, source: str | os.PathLike | None, options: dict[str, Any], known: files.KnownDigests
) -> Config:
    needs_source = bool(module.DataSet.MANUAL_DOWNLOAD_INSTRUCTIONS)
    if needs_source != (source is not None):
        what = module.DataSet.MANUAL_DOWNLOAD_INSTRUCTIONS or "this data set is simulated and reads no folder"
        raise ValueError(f"source is {source}, but {' '.join(what.split())}")
    given = {} if source is None else {"fingerprint": fingerprint(source, known) + _outside(source, options)}
    try:
        return module.Config(**options, **given)
    except TypeError as error:
        raise ValueError(f"{error}; see {module.__name__}.Config") from error


def _outside(source: str | os.PathLike, options: Mapping[str, Any]) -> str:
    """The content of a table that is named from within the folder, but lies outside of it."""
    named = pathlib.Path(options.get("annotations") or ".")
    table = pathlib.Path(source, named)
    if named.is_absolute() or not table.is_file() or table.resolve().is_relative_to(pathlib.Path(source).resolve()):
        return ""
    return f"+{files.digest(table)}"


def _create(data_set: type[Builder], data_dir: str | os.PathLike, config: Config) -> Builder:
    known = data_set.builder_configs.get(config.name)  # TFDS wants its own object for a name that it knows
    with _quietly():
        return data_set(data_dir=os.fspath(data_dir), config=known or config, file_format="array_record")


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keeps TFDS from printing that it downloads, and from warning of every config that is not a preset."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)


def _prepare(builder: Builder, source: str | os.PathLike | None, downloads: pathlib.Path) -> None:
    with _quietly():
        config = tfds.download.DownloadConfig(manual_dir=source)
        builder.download_and_prepare(download_dir=downloads, download_config=config)
    for split in filled_splits(builder):
        write_index(builder, split)


@contextlib.contextmanager
def _workshop(data_dir: pathlib.Path, full_name: str) -> Iterator[pathlib.Path]:
    """A hidden folder in `data_dir` to build in, the same for the same data set as long as nobody else builds there.

    It goes afterwards, and so do empty folders made on the way, unless the build was interrupted with a shard done.
    """
    created = _make_folder(data_dir)
    own = files.digest(f"{full_name} {hpax.__version__}", size=4)
    workshop = data_dir / f".building-{full_name.split('/')[0]}-{own}"
    workshop.mkdir(exist_ok=True)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(files.exclusive(workshop))
        except files.Taken:
            workshop = pathlib.Path(tempfile.mkdtemp(prefix=".building-", dir=data_dir))
        resumable = False
        try:
            yield workshop
        except (ValueError, FileNotFoundError):  # bad input, whose repair changes the fingerprint
            raise
        except BaseException:
            resumable = any(_make_shards(workshop).iterdir())
            raise
        finally:
            shutil.rmtree(workshop / _DRAFT if resumable else workshop, ignore_errors=resumable)
            if created is not None and not any(data_dir.iterdir()):
                shutil.rmtree(created)


def _make_shards(workshop: pathlib.Path) -> pathlib.Path:
    """The folder of finished shards; what is left of unfinished ones goes."""
    folder = workshop / "shards"
    folder.mkdir(exist_ok=True)
    for path in folder.glob("*.part"):
        path.unlink()
    return folder


def _make_folder(folder: pathlib.Path) -> pathlib.Path | None:
    """Creates `folder`; returns the topmost folder that was not there before."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing[-1] if missing else None


def _move(finished: pathlib.Path, final: pathlib.Path) -> None:
    final.parent.mkdir(parents=True, exist_ok=True)
    try:
        finished.rename(final)
    except OSError:
        if not final.is_dir():  # else another process built the same bytes first
            raise


def fingerprint(source: str | os.PathLike, known: files.KnownDigests | None = None) -> str:
    """A short name for what a folder holds: names and contents of its files, and of the table that lies beside it.

    That of an archive covers what would be unpacked, by the checksums in its directory, and not where it lies.

    Raises:
        FileNotFoundError: not a folder, or an empty one.
        ValueError: a damaged archive.
    """
    if packed := archive.locate(source):
        return archive.fingerprint(packed)
    source = pathlib.Path(source)
    if next(files.below(source), None) is None:
        raise FileNotFoundError(f"{source} holds no files; give the folder of the real images")
    return files.digest(files.content(source, known), *tables.beside(source))
