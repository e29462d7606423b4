"""An index of studies on disk: vectors of their images, digests of the words of their reports.

One SQLite file, so that a study is in it whole or not at all, an interrupted
run goes on where it stopped, and two processes may use it at once. It holds
paths, series identifiers and numbers, no text of a report and no pixels.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from osler.errors import FileFormatError, ModelError, RequestError
from osler.tasks.search_words import TextEntry, digest_words, words_of

_APPLICATION = 0x4F534C52  # "OSLR": tells an index from any other SQLite file
_VERSION = 1
_WAIT_SECONDS = 30.0
_KEY_BYTES = 32
_TABLES = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE studies (number INTEGER PRIMARY KEY, path TEXT UNIQUE NOT NULL, stamp TEXT NOT NULL,
    failure TEXT NOT NULL);
CREATE TABLE images (study INTEGER NOT NULL REFERENCES studies ON DELETE CASCADE,
    series TEXT NOT NULL, slice INTEGER, vector BLOB NOT NULL);
CREATE TABLE pages (number INTEGER PRIMARY KEY, study INTEGER NOT NULL REFERENCES studies ON DELETE CASCADE,
    source TEXT NOT NULL, page INTEGER NOT NULL, length INTEGER NOT NULL);
CREATE TABLE words (word BLOB NOT NULL, page INTEGER NOT NULL REFERENCES pages ON DELETE CASCADE,
    count INTEGER NOT NULL);
CREATE INDEX images_of ON images (study);
CREATE INDEX pages_of ON pages (study);
CREATE INDEX words_by_word ON words (word);
CREATE INDEX words_of_page ON words (page);
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexedImage:
    """Where a vector comes from: the study's path, its series and the slice, if a volume."""

    study: str
    series: str
    slice: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexedPage:
    """A page of a report: the study's path, the document's name, its page from 1, and what it counts."""

    study: str
    source: str
    page: int
    entry: TextEntry


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StudyEntry:
    """What is put into the index of one study.

    Args:
        path: For `open_study`. stamp: Of its files.
        places: Series and slice of each image, in the order of ``vectors``.
        vectors: (image, width) of length 1.
        texts: Name, page and text of each page of its reports.
        failure: Why it could not be read; then the rest is empty.
    """

    path: str
    stamp: str
    places: Sequence[tuple[str, int | None]] = ()
    vectors: np.ndarray | None = None
    texts: Sequence[tuple[str, int, str]] = ()
    failure: str = ""


class SearchIndex:
    """An open index.

    Args:
        path: The file. database: Its connection.
    """

    def __init__(self, path: Path, *, database: sqlite3.Connection) -> None:
        self.path = path
        self._database = database

    @classmethod
    def create_or_open(cls, path: Path, *, weights: str) -> SearchIndex:
        """Opens an index for writing, or makes a new one.

        Args:
            path: The file; its folder must exist.
            weights: Identity of the weights and the contract; vectors of others cannot be compared.

        Raises:
            RequestError: If the file cannot be made.
            FileFormatError: If another file is in the way, or it is damaged.
            ModelError: If it was made with other weights.
        """
        if not path.exists() or path.stat().st_size == 0:
            return cls._created(path, weights=weights)
        index = cls.open(path)
        if index.weights != weights:
            index.close()
            raise ModelError(
                f"{str(path)!r} was made with other weights or another preprocessing contract.",
                next_step="Name another file, or delete this one to index again.",
            )
        return index

    @classmethod
    def open(cls, path: Path) -> SearchIndex:
        """Opens an index that is there.

        Raises:
            FileFormatError: If it is absent, is something else or is damaged.
        """
        if not path.is_file():
            raise FileFormatError(
                f"There is no index {str(path)!r}.", next_step="Make one: osler index FOLDER --out INDEX."
            )
        with _refused(path):
            database = _connect(path)
            kind = database.execute("PRAGMA application_id").fetchone()[0]
            version = database.execute("PRAGMA user_version").fetchone()[0]
            if kind != _APPLICATION or version != _VERSION:
                database.close()
                other = kind != _APPLICATION
                raise FileFormatError(
                    f"{str(path)!r} is {'no index of Osler' if other else f'an index of version {version}'}.",
                    allowed=f"An index of version {_VERSION}, made by `osler index`.",
                )
            return cls(path, database=database)

    @classmethod
    def _created(cls, path: Path, *, weights: str) -> SearchIndex:
        try:
            path.touch(mode=0o600)
        except OSError as error:
            raise RequestError(
                f"Cannot write {str(path)!r}: {error.strerror or type(error).__name__}.",
                next_step="Name a file in a folder that exists and can be written.",
            ) from error
        with _refused(path):
            database = _connect(path)
            database.executescript(_TABLES)
            facts = {"weights": weights.encode(), "key": secrets.token_bytes(_KEY_BYTES)}
            database.executemany("INSERT INTO facts VALUES (?, ?)", facts.items())
            database.execute(f"PRAGMA application_id = {_APPLICATION}")
            database.execute(f"PRAGMA user_version = {_VERSION}")
            database.commit()
        return cls(path, database=database)

    @property
    def weights(self) -> str:
        """Identity of the weights that made the vectors."""
        return self._fact("weights").decode()

    def close(self) -> None:
        """Closes the file."""
        self._database.close()

    def stamps(self) -> dict[str, str]:
        """Returns the stamp of each study by its path."""
        with _refused(self.path):
            return dict(self._database.execute("SELECT path, stamp FROM studies"))

    def failures(self) -> dict[str, str]:
        """Returns why studies could not be read, by their path."""
        with _refused(self.path):
            return dict(self._database.execute("SELECT path, failure FROM studies WHERE failure != ''"))

    def put(self, entry: StudyEntry) -> None:
        """Puts a study in, in place of what was known of its path.

        Raises:
            RequestError: If the disk is full or the file cannot be written; the index is as before.
        """
        with _refused(self.path), self._database as database:
            database.execute("DELETE FROM studies WHERE path = ?", (entry.path,))
            row = (entry.path, entry.stamp, entry.failure)
            number = database.execute("INSERT INTO studies (path, stamp, failure) VALUES (?, ?, ?)", row).lastrowid
            vectors = np.empty((0, 0)) if entry.vectors is None else entry.vectors.astype("<f2")
            database.executemany(
                "INSERT INTO images VALUES (?, ?, ?, ?)",
                (
                    (number, series, slice_, vector.tobytes())
                    for (series, slice_), vector in zip(entry.places, vectors, strict=True)
                ),
            )
            for source, page, text in entry.texts:
                self._put_page(number, source=source, page=page, text=text)

    def forget(self, paths: Iterable[str]) -> None:
        """Takes studies out."""
        with _refused(self.path), self._database as database:
            database.executemany("DELETE FROM studies WHERE path = ?", ((path,) for path in paths))

    def vectors(self) -> tuple[list[IndexedImage], np.ndarray]:
        """Returns all images and their vectors, (image, width) in float32."""
        query = "SELECT path, series, slice, vector FROM images JOIN studies ON study = number ORDER BY images.rowid"
        with _refused(self.path):
            rows = self._database.execute(query).fetchall()
        images = [IndexedImage(study=path, series=series, slice=slice_) for path, series, slice_, _ in rows]
        if not rows:
            return images, np.zeros((0, 0), dtype=np.float32)
        return images, np.stack([np.frombuffer(row[3], dtype="<f2") for row in rows]).astype(np.float32)

    def pages(self, query: str) -> tuple[list[IndexedPage], set[bytes]]:
        """Returns all pages with their counts of the words of a query, and the digests of those words."""
        wanted = set(digest_words(words_of(query), key=self._fact("key")))
        counts: dict[int, dict[bytes, int]] = defaultdict(dict)
        with _refused(self.path):
            for word in wanted:
                for page, count in self._database.execute("SELECT page, count FROM words WHERE word = ?", (word,)):
                    counts[page][word] = count
            rows = self._database.execute(
                "SELECT pages.number, path, source, page, length FROM pages JOIN studies ON study = studies.number"
            ).fetchall()
        found = [
            IndexedPage(
                study=path, source=source, page=page, entry=TextEntry(length=length, counts=counts.get(number, {}))
            )
            for number, path, source, page, length in rows
        ]
        return found, wanted

    def _put_page(self, study: int | None, *, source: str, page: int, text: str) -> None:
        words = words_of(text)
        row = (study, source, page, len(words))
        number = self._database.execute(
            "INSERT INTO pages (study, source, page, length) VALUES (?, ?, ?, ?)", row
        ).lastrowid
        counts = digest_words(words, key=self._fact("key"))
        self._database.executemany(
            "INSERT INTO words VALUES (?, ?, ?)", ((word, number, count) for word, count in counts.items())
        )

    def _fact(self, name: str) -> bytes:
        with _refused(self.path):
            return self._database.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()[0]


def _connect(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=_WAIT_SECONDS)
    database.execute("PRAGMA foreign_keys = ON")
    return database


@contextmanager
def _refused(path: Path) -> Iterator[None]:
    """Turns SQLite's errors into Osler's."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise RequestError(
            f"The index {str(path)!r} cannot be used: {error}.",
            next_step="Check that the disk has room, the file can be written and no other process holds it.",
        ) from error
    except (sqlite3.DatabaseError, TypeError) as error:
        raise FileFormatError(
            f"The index {str(path)!r} is damaged.", next_step="Delete it and run `osler index` again."
        ) from error
