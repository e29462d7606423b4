"""Scans of the user's table with boxes, as the box head reads them: pictures and volumes, prepared by the contract.

Dimensions: S slices, one of a picture.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from osler.engine.head_features import spread
from osler.errors import OslerError
from osler.prepare import PreparedImages, Preprocess, prepare_images
from osler.readers import open_study
from osler.study import Box2D, Box3D, Image, Study, Volume
from osler.train.labeled_volumes import LEAST_SHARE, LabeledVolume, depth_of, in_series
from osler.train.local_table import LocalRow, Unreadable, is_kept_out


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BoxScan:
    """A scan and what is boxed in it.

    Args:
        item: Its slices and boxes. picture: Whether it is a single picture, whose boxes have no depth.
        absent: Labels that the table says are not there.
        kept_out: Whether it only measures.
    """

    item: LabeledVolume
    picture: bool
    absent: tuple[str, ...]
    kept_out: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxScans:
    """The scans of a table, and the rows that cannot be used."""

    scans: tuple[BoxScan, ...]
    unreadable: tuple[Unreadable, ...]

    def of(self, *, picture: bool, kept_out: bool) -> list[BoxScan]:
        """Those of one kind and side."""
        return [scan for scan in self.scans if scan.picture == picture and scan.kept_out == kept_out]


def read_box_scans(
    rows: Sequence[LocalRow],
    *,
    preprocess: Preprocess,
    slices: int,
    share: float,
    on_progress: Callable[[int, int], None] | None = None,
) -> BoxScans:
    """Opens every scan once and puts its boxes into the coordinates of the network.

    Args:
        rows: With labels.
        slices: Of a volume, at most.
        share: Of the patients that are kept out, where the table does not say.
        on_progress: Called with the scans done and in all.
    """
    groups: dict[Path, list[LocalRow]] = {}
    for row in rows:
        groups.setdefault(row.path, []).append(row)
    scans: list[BoxScan] = []
    bad: list[Unreadable] = []
    for done, (path, mine) in enumerate(groups.items()):
        try:
            study = open_study(path)
            read = _Reading(study, preprocess=preprocess, slices=slices)
            usable = [row for row in mine if not read.refuses(row, among=mine, bad=bad)]
            if usable:
                scans.append(read.scan(usable, share=share))
        except OslerError as error:
            bad += [Unreadable(line=row.line, path=str(path), reason=error.problem) for row in mine]
        if on_progress is not None:
            on_progress(done + 1, len(groups))
    return BoxScans(scans=tuple(scans), unreadable=tuple(sorted(bad, key=lambda entry: entry.line)))


class _Reading:
    """One scan on its way."""

    def __init__(self, study: Study, *, preprocess: Preprocess, slices: int) -> None:
        self.study, self.preprocess, self.slices = study, preprocess, slices

    def refuses(self, row: LocalRow, *, among: Sequence[LocalRow], bad: list[Unreadable]) -> bool:
        """Whether a row cannot be used, which is then noted with the reason."""
        reason = self._reason(row, among=among)
        if reason:
            bad.append(Unreadable(line=row.line, path=str(row.path), reason=reason))
        return bool(reason)

    def scan(self, rows: Sequence[LocalRow], *, share: float) -> BoxScan:
        """The scan with the boxes of rows that were not refused."""
        first = rows[0]
        patient = first.patient or hashlib.sha256(f"{self.study.patient or first.path}".encode()).hexdigest()
        out = first.split == "kept-out" if first.split else is_kept_out(patient, share=share)
        picture = isinstance(self._series(), Image)
        return BoxScan(
            item=replace(self._item(rows, picture=picture), patient=patient),
            picture=picture,
            absent=tuple(dict.fromkeys(row.label for row in rows if row.box is None)),
            kept_out=out,
        )

    def _series(self) -> Image | Volume | None:
        """The one series of the scan, ``None`` where it has none or several, or is a slide."""
        series = [entry for point in self.study.timepoints for entry in point.series]
        return series[0] if len(series) == 1 and isinstance(series[0], Image | Volume) else None

    def _reason(self, row: LocalRow, *, among: Sequence[LocalRow]) -> str:
        series = self._series()
        if series is None:
            return 'the box head reads single pictures and volumes, not slides or several series (boxes = "text" does)'
        if sum(other.label == row.label for other in among) > 1:
            return f"{row.label!r} stands more than once on this scan: the box head draws one box a label"
        if isinstance(row.box, Box2D) and isinstance(series, Volume):
            return "the scan is a volume: its boxes need z0 and z1, in mm of the patient"
        if isinstance(row.box, Box3D) and isinstance(series, Image):
            return "the box has z0 and z1, and the scan is not a volume"
        return "" if row.box is None else _size_problem(self._edges(row.box))

    def _edges(self, box: Box2D | Box3D) -> tuple[float, ...]:
        """The box in shares of the scan: low edges, then high ones."""
        if isinstance(box, Box3D):
            return in_series(box, prepared=self._prepared, study=self.study)
        seen = self._prepared.images[0].to_model(box)
        size = self.preprocess.image_size
        x0, y0, x1, y1 = (min(max(edge / size, 0.0), 1.0) for edge in (seen.x0, seen.y0, seen.x1, seen.y1))
        return (x0, y0, 0.0, x1, y1, 1.0)

    @cached_property
    def _prepared(self) -> PreparedImages:
        return prepare_images(self.study, preprocess=self.preprocess)

    def _item(self, rows: Sequence[LocalRow], *, picture: bool) -> LabeledVolume:
        prepared = self._prepared
        chosen = [0] if picture else spread(len(prepared.images), most=self.slices)
        depth = [0.5 if picture else depth_of(prepared, index=index, study=self.study) for index in chosen]
        return LabeledVolume(
            slices=prepared.pixels.rgb[chosen],
            depth=np.array(depth, dtype=np.float32),
            boxes={row.label: self._edges(row.box) for row in rows if row.box is not None},
            source="local",
            patient="",
        )


def _size_problem(edges: Sequence[float]) -> str:
    """Why a box in shares of the scan cannot be learned; empty if it can."""
    least = min(high - low for low, high in zip(edges[:3], edges[3:], strict=True))
    if least <= 0:
        return "the box lies outside of the scan"
    if least <= LEAST_SHARE:
        return f'the box is thinner than {LEAST_SHARE:.0%} of the scan: too small for the box head (boxes = "text")'
    return ""
