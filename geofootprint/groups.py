"""Groups of buildings, found block by block and outlined one at a time.

A group is what is so near to each other that simplifying one outline could touch another. It is outlined from
its own pixels alone, and one that crosses the border of a block is put together and read again. Therefore the
outlines do not depend on the blocks, and memory does not depend on the raster.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geofootprint.probabilities import Source
from geofootprint.progress import Progress, track
from geofootprint.rings import Rings, Rule, draw_rings
from geofootprint.unions import connect

__all__ = ["CELL", "Walk", "group_near"]

CELL = 4096
"""Pixels. A group whose box has more than `CELL` x `CELL` is cut along this grid, which no block crosses."""

GROUP_REACH = 1
"""Pixels by which masks are widened to see who is near: gaps of up to twice that many pixels join a group."""


def group_near(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """Give a number to each group of buildings that are so near that simplifying one could touch another.

    Parameters
    ----------
    mask : bool array of shape (height + 2, width + 2)
        True in buildings, with a margin of `GROUP_REACH` pixels on each side, which are looked at but not
        numbered.

    Returns
    -------
    groups : int32 array of shape (height, width)
        0 away from buildings, else the group's number; a group reaches one pixel beyond its buildings.
    boxes : int32 array of shape (groups + 1, 4)
        Top, left, bottom, right (exclusive) of each group; row 0 is what belongs to none.
    sizes : int32 array of shape (groups + 1,)
        Pixels of each group.
    """
    side = 2 * GROUP_REACH + 1
    wide = cv2.dilate(mask.view(np.uint8), np.ones((side, side), np.uint8))
    core = wide[GROUP_REACH:-GROUP_REACH, GROUP_REACH:-GROUP_REACH]
    _, groups, stats, _ = cv2.connectedComponentsWithStats(core, connectivity=4, ltype=cv2.CV_32S)
    left, top, width, height, sizes = np.asarray(stats).T
    return np.asarray(groups), np.stack([top, left, top + height, left + width], axis=1), sizes


@dataclass(frozen=True)
class Part:
    """The part of a group inside one block.

    Parameters
    ----------
    box : (top, left, bottom, right)
        In pixels of the raster, the last two exclusive.
    pixel : (row, column)
        One of its pixels.
    """

    box: tuple[int, int, int, int]
    pixel: tuple[int, int]

    @property
    def cell(self) -> tuple[int, int]:
        return self.pixel[0] // CELL, self.pixel[1] // CELL


class Walk:
    """Goes through a raster block by block and outlines each group once.

    A group that reaches the border of its block waits; parts that lie side by side are joined (union-find),
    and when all blocks are seen, the whole group is read by its common box.
    """

    def __init__(self, source: Source, rule: Rule, *, block: int, progress: Progress) -> None:
        self.any_valid = False
        self._source = source
        self._rule = rule
        self._block = block
        self._progress = progress
        self._parts: list[Part] = []
        self._links: list[NDArray[np.int64]] = []
        # Number of the waiting part at each pixel of the row above and the column to the left; -1 is none.
        self._above = np.full(source.grid.width, -1, np.int64)
        self._left = np.empty(0, np.int64)

    def rings(self) -> Iterator[Rings]:
        """Yield the raw rings of each group; their order depends on the blocks."""
        rows, columns = (_edges(size, self._block) for size in self._source.grid.shape)
        windows = [
            Window(left, top, right - left, bottom - top)
            for top, bottom in pairwise(rows)
            for left, right in pairwise(columns)
        ]
        for window in track(windows, "vectorize", len(windows), self._progress):
            yield from self._inside(window)
        joined = self._joined()
        if joined:
            for parts in track(joined, "join", len(joined), self._progress):
                yield from self._across(parts)

    def _read(
        self, top: int, left: int, bottom: int, right: int
    ) -> tuple[NDArray[np.uint8], NDArray[np.bool_], NDArray[np.bool_]]:
        """Return probabilities, validity and building pixels of a box and the margin around it."""
        margin = GROUP_REACH
        window = Window(left - margin, top - margin, right - left + 2 * margin, bottom - top + 2 * margin)
        probabilities, valid = self._source.read(window)
        return probabilities, valid, valid & (probabilities[0] > self._rule.level)

    def _inside(self, window: Window) -> Iterator[Rings]:
        """Yield the groups that end in this block; note the parts of the others."""
        top, left = int(window.row_off), int(window.col_off)
        probabilities, valid, mask = self._read(top, left, top + window.height, left + window.width)
        self.any_valid = self.any_valid or bool(valid.any())
        groups, boxes, sizes = group_near(mask)
        waiting = self._wait(groups, boxes, top, left)
        sizes[0] = 0
        for group in np.flatnonzero((waiting < 0) & (sizes >= max(1.0, self._rule.min_size / 2))):
            box = boxes[group]
            part = _with_margin(box)
            own = _own(mask[part], groups[box[0] : box[2], box[1] : box[3]] == group)
            origin = (top + int(box[0]) - GROUP_REACH, left + int(box[1]) - GROUP_REACH)
            yield draw_rings(probabilities[:, part[0], part[1]], valid[part], own, self._rule, origin=origin)

    def _wait(
        self, groups: NDArray[np.int32], boxes: NDArray[np.int32], top: int, left: int
    ) -> NDArray[np.int64]:
        """Note the groups that reach a border inside the raster, and join them to those beyond.

        Returns the number of each group's part, -1 for a group that does not wait.
        """
        height, width = groups.shape
        grid = self._source.grid
        borders = [
            groups[0] if top > 0 else groups[0, :0],
            groups[-1] if top + height < grid.height else groups[0, :0],
            groups[:, 0] if left > 0 else groups[:0, 0],
            groups[:, -1] if left + width < grid.width else groups[:0, 0],
        ]
        numbers = np.full(len(boxes), -1, np.int64)
        for group in np.setdiff1d(np.concatenate(borders), [0]):
            y, x, bottom, right = (int(value) for value in boxes[group])
            first = x + int(np.argmax(groups[y, x:right] == group))
            numbers[group] = len(self._parts)
            self._parts.append(Part((top + y, left + x, top + bottom, left + right), (top + y, left + first)))
        self._join(self._above[left : left + width], numbers[groups[0]])
        self._join(self._left if left > 0 else numbers[groups[:0, 0]], numbers[groups[:, 0]])
        self._above[left : left + width] = numbers[groups[-1]]
        self._left = numbers[groups[:, -1]]
        return numbers

    def _join(self, before: NDArray[np.int64], after: NDArray[np.int64]) -> None:
        if before.size != after.size:
            return
        beside = (before >= 0) & (after >= 0)
        if beside.any():
            self._links.append(np.unique(np.stack([before[beside], after[beside]]), axis=1))

    def _joined(self) -> list[list[Part]]:
        """Return the waiting groups, each as its parts; one too large to be read at once cell by cell."""
        links = np.concatenate([np.zeros((2, 0), np.int64), *self._links], axis=1)
        groups: dict[tuple[int, ...], list[Part]] = {}
        for number, part in zip(connect(len(self._parts), *links).tolist(), self._parts, strict=True):
            groups.setdefault((number,), []).append(part)
        for key, parts in list(groups.items()):
            top, left, bottom, right = _common_box(parts)
            if (bottom - top) * (right - left) > CELL * CELL:
                del groups[key]
                for part in parts:
                    groups.setdefault((*key, *part.cell), []).append(part)
        return list(groups.values())

    def _across(self, parts: Sequence[Part]) -> Iterator[Rings]:
        """Yield the buildings of a group that lies in several blocks."""
        top, left, bottom, right = _common_box(parts)
        if (bottom - top) * (right - left) < self._rule.min_size / 2:
            return
        probabilities, valid, mask = self._read(top, left, bottom, right)
        groups, _, _ = group_near(mask)
        wanted = [groups[part.pixel[0] - top, part.pixel[1] - left] for part in parts]
        own = _own(mask, np.isin(groups, wanted))
        origin = (top - GROUP_REACH, left - GROUP_REACH)
        yield draw_rings(probabilities, valid, own, self._rule, origin=origin)


def _edges(size: int, block: int) -> list[int]:
    """Return where blocks begin and end along one axis; none crosses an edge of a cell."""
    cells = [(start, min(start + CELL, size)) for start in range(0, size, CELL)]
    return [edge for start, end in cells for edge in range(start, end, block)] + [size]


def _with_margin(box: NDArray[np.int32]) -> tuple[slice, slice]:
    """Return the slices of a box and its margin in an array that has a margin itself."""
    return slice(box[0], box[2] + 2 * GROUP_REACH), slice(box[1], box[3] + 2 * GROUP_REACH)


def _own(mask: NDArray[np.bool_], inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return mask & np.pad(inside, GROUP_REACH)


def _common_box(parts: Sequence[Part]) -> tuple[int, int, int, int]:
    tops, lefts, bottoms, rights = zip(*(part.box for part in parts), strict=True)
    return min(tops), min(lefts), max(bottoms), max(rights)
