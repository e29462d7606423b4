"""A box head of the user's own labels: a copy of the base's that learns from local scans, the base's stays as it is.

The tower and the heads' trunk are frozen, so each scan passes them once, in some views, and an update costs the head
alone. Kept-out scans are measured with what the base draws and with the mean box of the training scans beside it.

Dimensions: B scans, M features of a scan, P patches, V width of the tower, Q labels, C width of a text state.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from osler.engine.head_features import text_states
from osler.model.heads import BoxHead, Heads, patch_positions, volume_features
from osler.model.osler import Osler
from osler.train.box_scans import BoxScan, BoxScans
from osler.train.cache_key import cache_key
from osler.train.checkpoints import save_tensors
from osler.train.finite import not_a_number
from osler.train.labeled_volumes import LabeledVolume
from osler.train.losses import box_loss, box_overlap, presence_loss
from osler.train.optimizer import RunningMean, make_optimizer, set_rate
from osler.train.perception_bank import FeatureBank, View, fill_bank
from osler.train.perception_batch import Asked, any_view, pack_asked
from osler.train.picture_book import to_square
from osler.train.recipe import BoxTeaching
from osler.train.sources import blank_pictures
from osler.weights.checkpoint import Checkpoint
from osler.weights.safetensors_io import read_safetensors

_BLANK = "blank"
_PRESENCE = 0.3
_BOXES = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxesMeasured:
    """What is drawn on kept-out scans.

    Args:
        boxes: That were asked for. scans: They stand on. patients: Whose.
        before: Mean IoU of what the base draws; 0 for a label that it does not know. after: Of the taught head.
        mean_box: Of the mean box of each label over the training scans, which looks at nothing.
        absent: Labels that are not there. refused: Those of them that the head rightly leaves out.
    """

    boxes: int
    scans: int
    patients: int
    before: float | None
    after: float | None
    mean_box: float | None
    absent: int
    refused: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TaughtBoxes:
    """A taught head.

    Args:
        labels: In words. kinds: Of the scans, ``"pictures"``, ``"volumes"`` or both.
        tensors: Of a `BoxHead`. measured: On kept-out scans.
    """

    labels: tuple[str, ...]
    kinds: tuple[str, ...]
    tensors: Mapping[str, Tensor]
    measured: BoxesMeasured

    def put_on(self, model: Osler) -> None:
        """Gives a network with heads this one beside its own, in place."""
        assert model.config.heads is not None
        assert model.heads is not None
        model.config = replace(
            model.config, heads=replace(model.config.heads, taught=self.labels, taught_on=self.kinds)
        )
        kept = {name: t for name, t in model.heads.state_dict().items() if not name.startswith("taught.")}
        own = {f"taught.{name}": tensor.to(model.dtype) for name, tensor in self.tensors.items()}
        with torch.device("meta"):
            heads = Heads(model.config)
        heads.load_state_dict(kept | own, assign=True)
        model.heads = heads.requires_grad_(False).eval()


def taught_boxes(
    scans: BoxScans,
    *,
    checkpoint: Checkpoint,
    teaching: BoxTeaching,
    folder: Path,
    seed: int,
    workers: int,
    listener: Callable[[Mapping[str, float]], None] | None = None,
) -> TaughtBoxes:
    """Teaches a head, or reads it from the folder if it was taught from the same.

    Args:
        scans: Of the table. checkpoint: The base, with heads.
        folder: Keeps features and the head.

    Raises:
        DataError: If encoding fails.
        TrainingError: If a loss is not a number.
        CheckpointError: If a file is damaged or cannot be written.
    """
    contents = [(s.item.patient, dict(s.item.boxes), s.absent, s.kept_out, s.picture) for s in scans.scans]
    pixels = [sha256(np.ascontiguousarray(scan.item.slices)).hexdigest() for scan in scans.scans]
    key = cache_key(weights=checkpoint.key, scans=contents, pixels=pixels)
    path = folder / "head.safetensors"
    whole = cache_key(key=key, teaching=asdict(teaching), seed=seed)
    if path.is_file():
        stored = read_safetensors(path)
        if stored.metadata.get("key") == whole:
            about = json.loads(stored.metadata["about"])
            return TaughtBoxes(
                labels=tuple(about["labels"]),
                kinds=tuple(about["kinds"]),
                tensors=stored.tensors,
                measured=BoxesMeasured(**about["measured"]),
            )
    lesson = _Lesson(
        scans, checkpoint=checkpoint, teaching=teaching, folder=folder, key=key, seed=seed, workers=workers
    )
    head = lesson.teach(listener=listener)
    made = TaughtBoxes(
        labels=lesson.labels, kinds=lesson.kinds, tensors=head.state_dict(), measured=lesson.measure(head)
    )
    about = {"labels": made.labels, "kinds": made.kinds, "measured": asdict(made.measured)}
    save_tensors(path, made.tensors, metadata={"key": whole, "about": json.dumps(about)})
    return made


class _HeadTower:
    """What heads read, in the place of the tower that a feature bank asks."""

    def __init__(self, model: Osler) -> None:
        assert model.vision is not None
        self.model, self.config, self.embeddings = model, model.vision.config, model.vision.embeddings

    def forward_to(self, pixels_BCSS: Tensor, *, layers: int) -> Tensor:
        """Features of `Osler.head_features`; the number of layers is its own."""
        return self.model.head_features(pixels_BCSS)


class _Lesson:
    """Features and labels of all scans, and the head that learns from them."""

    def __init__(
        self,
        scans: BoxScans,
        *,
        checkpoint: Checkpoint,
        teaching: BoxTeaching,
        folder: Path,
        key: str,
        seed: int,
        workers: int,
    ) -> None:
        model = checkpoint.model
        assert model.heads is not None
        self.checkpoint, self.teaching, self.seed = checkpoint, teaching, seed
        self.config, self.heads = model.heads.config, model.heads
        tower = _HeadTower(model)
        self.side = tower.config.side
        size = checkpoint.preprocess.image_size
        rng = np.random.default_rng(seed)
        blank = [_blank(to_square(blank_pictures(rng).pixels, size=size)) for _ in range(teaching.blanks)]
        pictures = [*(scan for scan in scans.scans if scan.picture), *blank]
        self.groups = {"pictures": pictures, "volumes": [scan for scan in scans.scans if not scan.picture]}
        taught = {
            name: [i for i, scan in enumerate(group) if not scan.kept_out and (scan.item.boxes or scan.absent)]
            for name, group in self.groups.items()
        }
        self.train = {name: numbers for name, numbers in taught.items() if numbers}
        self.banks = {
            name: fill_bank(
                folder / name,
                items=[scan.item for scan in group],
                views=teaching.views,
                tower=tower,
                layers=0,
                preprocess=checkpoint.preprocess,
                slices=1 if name == "pictures" else self.config.slices,
                key=key,
                seed=seed,
                workers=workers,
            )
            for name, group in self.groups.items()
            if group
        }
        named = [label for scan in scans.scans for label in (*scan.item.boxes, *scan.absent)]
        self.labels = tuple(dict.fromkeys(named))
        states = text_states(checkpoint, self.labels).float().clone()
        self.states = dict(zip(self.labels, states, strict=True))

    @property
    def kinds(self) -> tuple[str, ...]:
        """Of the scans that are learned from."""
        taught = {"pictures" if scan.picture else "volumes" for group in self.groups.values() for scan in group
                  if scan.item.boxes and not scan.kept_out}  # fmt: skip
        return tuple(sorted(taught))

    def teach(self, *, listener: Callable[[Mapping[str, float]], None] | None) -> BoxHead:
        """Runs the updates; the result is the running mean of the weights."""
        start = self.heads.taught if self.heads.taught is not None else self.heads.boxes
        head = copy.deepcopy(start).float().requires_grad_(True).train()
        config = self.teaching.optimizer
        optimizer = make_optimizer([(head.parameters(), 1.0)], config=config)
        mean = RunningMean(head, decay=config.average)
        with torch.enable_grad():
            for step in range(config.steps):
                set_rate(optimizer, step=step, config=config)
                losses = self._losses(head, rng=np.random.default_rng([self.seed, step]))
                loss = _BOXES * losses.get("boxes", torch.zeros(())) + _PRESENCE * losses["presence"]
                if not bool(loss.isfinite()):
                    raise not_a_number(["the boxes of the table"], what="loss of boxes", step=step)
                loss.backward()
                nn.utils.clip_grad_norm_(head.parameters(), config.clip)
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
                mean.update(head)
                if listener is not None:
                    listener(
                        {"box updates": step + 1, "box updates in all": config.steps, "loss": float(loss.detach())}
                    )
        taught = mean.copy_to(head)
        assert isinstance(taught, BoxHead)
        return taught.eval()

    def _losses(self, head: BoxHead, *, rng: np.random.Generator) -> dict[str, Tensor]:
        """The losses of an update: scans of one kind, pictures and volumes as often as there are of each."""
        sizes = {name: len(numbers) for name, numbers in self.train.items()}
        name = str(rng.choice(list(sizes), p=np.array(list(sizes.values())) / sum(sizes.values())))
        chosen = [self.train[name][int(i)] for i in rng.integers(sizes[name], size=self.teaching.optimizer.batch)]
        if name == "pictures" and self.teaching.blanks:
            first = next(i for i, scan in enumerate(self.groups[name]) if scan.item.source == _BLANK)
            chosen.append(first + int(rng.integers(self.teaching.blanks)))
        views = [any_view(self.banks[name].views[i], rng=rng) for i in chosen]
        boxes_BQ6, presence_BQ, wanted_BQ6, real_BQ = self._found(head, name, chosen, views)
        if not bool(real_BQ.any()):  # all boxes were cut away in these views
            return {"presence": presence_BQ.sum() * 0}
        there_BQ = real_BQ & ~wanted_BQ6[..., 0].isnan()
        losses = {"presence": presence_loss(presence_BQ[real_BQ], there_Q=there_BQ[real_BQ])}
        if bool(there_BQ.any()):
            losses["boxes"] = box_loss(boxes_BQ6[there_BQ], wanted_BQ6[there_BQ])
        return losses

    def _found(
        self, head: nn.Module, name: str, chosen: Sequence[int], views: Sequence[View]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What a head finds in views, (B, Q, 6) and (B, Q), what is there, and which labels were asked for."""
        features_BMV, places_BM3 = _features(self.banks[name], views, picture=name == "pictures", side=self.side)
        asked = [self._asked(view, self.groups[name][i]) for i, view in zip(chosen, views, strict=True)]
        text_BQC, wanted_BQ6, real_BQ = pack_asked(asked, states=self.states)
        boxes_BQ6, presence_BQ = head(text_BQC, features_BMV=features_BMV, positions_BM3=places_BM3)
        return boxes_BQ6, presence_BQ, wanted_BQ6, real_BQ

    def _asked(self, view: View, scan: BoxScan) -> Asked:
        boxes = dict(view.boxes or {})
        absent = self.labels if scan.item.source == _BLANK else scan.absent
        rows = [(*b[:2], float("nan"), *b[3:5], float("nan")) if scan.picture else b for b in boxes.values()]
        nothing = [[float("nan")] * 6] * len(absent)
        return Asked(labels=(*boxes, *absent), boxes_Q6=torch.tensor([*rows, *nothing]).reshape(-1, 6))

    @torch.no_grad()
    def measure(self, head: BoxHead) -> BoxesMeasured:
        """Measures kept-out scans as they are, without augmentation."""
        after: list[float] = []
        before: list[float] = []
        constant: list[float] = []
        scans: set[tuple[str, int]] = set()
        patients: set[str] = set()
        absent = refused = 0
        heads = {"boxes": self.heads.boxes, "taught": self.heads.taught}
        old_heads = {kind: copy.deepcopy(one).float() for kind, one in heads.items() if one is not None}
        for name, group in self.groups.items():
            mean = _mean_boxes([scan for scan in group if not scan.kept_out])
            for number, scan in enumerate(group):
                if not scan.kept_out:
                    continue
                view = self.banks[name].views[number][0]
                boxes_1Q6, presence_1Q, wanted_1Q6, _ = self._found(head, name, [number], [view])
                found = boxes_1Q6, presence_1Q
                olds = {kind: self._found(old_head, name, [number], [view])[:2] for kind, old_head in old_heads.items()}
                for place, label in enumerate((*(view.boxes or ()), *scan.absent)):
                    if wanted_1Q6[0, place, 0].isnan():
                        absent, refused = absent + 1, refused + int(presence_1Q[0, place] <= 0)
                        continue
                    after.append(_overlap_of(found, wanted_1Q6, place=place))
                    kind = self._drawn_by(label, picture=scan.picture)
                    before.append(_overlap_of(olds[kind], wanted_1Q6, place=place) if kind else 0.0)
                    fixed = mean.get(label)
                    same = 0.0 if fixed is None else float(box_overlap(fixed[None], wanted_1Q6[0, place][None])[0])
                    constant.append(same)
                    scans.add((name, number))
                    patients.add(scan.item.patient)
        return BoxesMeasured(
            boxes=len(after),
            scans=len(scans),
            patients=len(patients),
            before=float(np.mean(before)) if before else None,
            after=float(np.mean(after)) if after else None,
            mean_box=float(np.mean(constant)) if constant else None,
            absent=absent,
            refused=refused,
        )

    def _drawn_by(self, label: str, *, picture: bool) -> str:
        """Which head of the base draws a label: ``"taught"``, ``"boxes"``, or none."""
        if label in self.config.taught:
            return "taught" if ("pictures" if picture else "volumes") in self.config.taught_on else ""
        known = not self.config.labels or label in self.config.labels
        return "boxes" if known and (picture or self.config.boxes_on == "all") else ""


def _overlap_of(found: tuple[Tensor, Tensor], wanted_1Q6: Tensor, *, place: int) -> float:
    """IoU of one label; 0 where the head does not draw it."""
    boxes_1Q6, presence_1Q = found
    if presence_1Q[0, place] <= 0:
        return 0.0
    return float(box_overlap(boxes_1Q6[0, place][None], wanted_1Q6[0, place][None])[0])


def _blank(pixels_SS3: np.ndarray) -> BoxScan:
    item = LabeledVolume(
        slices=pixels_SS3[None], depth=np.array([0.5], np.float32), boxes={}, source=_BLANK, patient=_BLANK
    )
    return BoxScan(item=item, picture=True, absent=(), kept_out=False)


def _features(bank: FeatureBank, views: Sequence[View], *, picture: bool, side: int) -> tuple[Tensor, Tensor]:
    """What the head reads of views of one kind, (B, M, V) in float32, and where it lies, (B, M, 3)."""
    slices = 1 if picture else len(views[0].depth)
    rows = [view.row + number for view in views for number in range(slices)]
    features = bank.features(rows).float()
    if picture:
        return features, patch_positions(side).expand(len(views), -1, -1)
    return volume_features(features, depth_BS=torch.tensor([view.depth for view in views]), side=side)


def _mean_boxes(scans: Sequence[BoxScan]) -> dict[str, Tensor]:
    """The mean box of each label in shares of the scan, (6,)."""
    found: dict[str, list[Tensor]] = {}
    for scan in scans:
        for label, box in scan.item.boxes.items():
            found.setdefault(label, []).append(torch.tensor(box))
    return {label: torch.stack(boxes).mean(0) for label, boxes in found.items()}
