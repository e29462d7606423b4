"""Recipes of the stages that teach the heads: alone (`PerceptionRecipe`), or with the answers (`JointRecipe`)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Literal, get_args

from osler.errors import RequestError, unknown_name
from osler.train.film_lessons import check_film_tasks
from osler.train.losses import HeadWeights, TaskWeights
from osler.train.optimizer_config import OptimizerConfig
from osler.weights.skills import Skill


@dataclass(frozen=True, slots=True, kw_only=True)
class FilmShares:
    """What an update reads for the heads.

    Args:
        series: Synthetic patients, each with up to four films. xrays: Real X-rays. volumes: Volumes.
    """

    series: int = 6
    xrays: int = 20
    volumes: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewCounts:
    """Augmented views of each picture or volume whose features are kept."""

    films: int = 1
    xrays: int = 5
    volumes: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadsRecipe:
    """What the heads and the attention over time learn from, and how; the stages add what is theirs.

    Args:
        data: Folder of the public sets. out: See `VisionRecipe`. precision: See there.
        seed: Of what is new, and of the order of the samples. save_every: Updates between checkpoints.
        base: Osler folder or name of the weights to start from.
        films: Folder for the rendered films of synthetic patients. banks: Folder for features of the frozen layers.
        film_patients: Patient numbers that are looked at for films. film_seed: Of the synthetic patients.
        series_share: Share of the synthetic patients that is learned from. xrays_share: Of the real ones; less than 1
            for a curve over the amount of data. A smaller share is a part of a larger one.
        phantoms: Phantoms with boxes of organs. slices: Slices of a volume.
        trunk: Last layers of the tower that learn.
        time: ``"attention"``, or ``"none"`` to learn progression without it (an ablation).
        states: See `HeadsConfig`.
        synthetic_findings: Weight of the findings of synthetic films, against those of real ones.
        synthetic: ``"use"``, or ``"none"`` to leave synthetic films out of findings and boxes (an ablation).
        skills: That the weights are then listed for: those that were measured to be better than their baselines.
        pictures: Pictures of all kinds on which the box head learns at the end when lungs are not there; 0 for none.
        boxes_on: See `HeadsConfig`. witness: See there.
        labels: Names that the box head is then offered for; empty for all that it was trained on.
        workers: Processes that render. weights: Of the tasks.
        views: Augmented ones that are kept of a picture or volume. shares: What an update reads.
    """

    data: str
    out: str
    films: str
    banks: str
    optimizer: OptimizerConfig
    base: str = "osler-mini"
    film_patients: int = 9000
    film_seed: int = 11
    series_share: float = 1.0
    xrays_share: float = 1.0
    phantoms: int = 300
    slices: int = 12
    trunk: int = 2
    time: Literal["attention", "none"] = "attention"
    states: Literal["layer", "batch"] = "layer"
    synthetic_findings: float = 1.0
    synthetic: Literal["use", "none"] = "use"
    skills: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    pictures: int = 0
    boxes_on: Literal["all", "xrays"] = "all"
    witness: tuple[str, ...] = ()
    seed: int = 5
    workers: int = 2
    save_every: int = 100
    precision: Literal["bfloat16", "float32"] = "bfloat16"
    views: ViewCounts = field(default_factory=ViewCounts)
    shares: FilmShares = field(default_factory=FilmShares)
    weights: HeadWeights = field(default_factory=HeadWeights)

    def __post_init__(self) -> None:
        """Checks shares, counts and skills.

        Raises:
            RequestError: If a number is out of its range, or a skill is unknown.
        """
        for skill in self.skills:
            if skill not in get_args(Skill):
                raise unknown_name("skill", name=str(skill), known=get_args(Skill))
        for name in ("series_share", "xrays_share"):
            if not 0 < getattr(self, name) <= 1:
                raise RequestError(f"{name} is {getattr(self, name)!r}.", allowed="More than 0, and 1 at most.")
        for name, value, least in (
            ("slices", self.slices, 1),
            ("trunk", self.trunk, 0),
            ("shares.series", self.shares.series, 1),
            ("shares.xrays", self.shares.xrays, 0),
            ("shares.volumes", self.shares.volumes, 0),
            *((f"weights.{name}", weight, 0) for name, weight in asdict(self.weights).items()),
        ):
            if value < least:
                raise RequestError(f"{name} is {value!r}.", allowed=f"{least} or more.")
        if not 0 <= self.optimizer.average < 1:
            raise RequestError(f"optimizer.average is {self.optimizer.average!r}.", allowed="0 up to, but not, 1.")


@dataclass(frozen=True, slots=True, kw_only=True)
class PerceptionRecipe(HeadsRecipe):
    """Teaches the heads and the attention over time, on a trunk of their own; tower and decoder do not change.

    Args:
        stage: ``"perception"``.
        ship: Folder of the base weights that the trained parts are written into at the end; empty for none.
        told: See `HeadsConfig`; the decoder learns to read it afterwards. told_levels: See there.
    """

    stage: Literal["perception"]
    ship: str = ""
    told: tuple[str, ...] = ()
    told_levels: tuple[tuple[float, ...], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FilmAnswers:
    """What the decoder learns to answer in a joint run.

    Args:
        tasks: On the films of the synthetic patients, see `FinetuneRecipe`.
        samples: Of an update. micro_batch: Samples computed at a time; their gradients are added up.
        weigh: See `AnswerTeacher`.
        rank: Of the LoRA. alpha: Scale of the LoRA.
        rate: Share of the learning rate that the LoRA and the projector get.
        keep_tokens: Tokens of a micro-batch above which activations are computed again in the backward pass.
        kept_out: Share of the synthetic patients that neither answers nor heads learn from, chosen by a hash.
        judged: Samples of these patients that are measured at most, before and after.
    """

    tasks: tuple[str, ...] = ("record", "report", "box-tokens")
    samples: int = 8
    micro_batch: int = 4
    weigh: Literal["tokens", "samples"] = "tokens"
    rank: int = 16
    alpha: float = 32.0
    rate: float = 0.3
    keep_tokens: int = 2048
    kept_out: float = 0.1
    judged: int = 100

    def __post_init__(self) -> None:
        """Checks what the types do not say.

        Raises:
            RequestError: If a task is unknown, or a number is out of its range.
        """
        if not self.tasks:
            raise RequestError("answers.tasks is empty.", allowed="One task at least.")
        check_film_tasks(self.tasks)
        if not 0 <= self.kept_out < 1:
            raise RequestError(f"answers.kept_out is {self.kept_out!r}.", allowed="0 up to, but not, 1.")
        if not 0 < self.rate <= 1:
            raise RequestError(f"answers.rate is {self.rate!r}.", allowed="More than 0, and 1 at most.")
        for name in ("samples", "micro_batch", "rank", "judged"):
            if getattr(self, name) < 1:
                raise RequestError(f"answers.{name} is {getattr(self, name)!r}.", allowed="1 or more.")


@dataclass(frozen=True, slots=True, kw_only=True)
class JointRecipe(HeadsRecipe):
    """Teaches heads, attention over time and answers at once, on last layers of the tower that all share.

    Args:
        stage: ``"joint"``.
        answers: What the decoder learns.
        weights: Of the tasks, the next token among them. ``boxes`` also weighs those of box tokens.
    """

    stage: Literal["joint"]
    answers: FilmAnswers = field(default_factory=FilmAnswers)
    weights: TaskWeights = field(default_factory=TaskWeights)

    def __post_init__(self) -> None:
        """Checks what the types do not say.

        Raises:
            RequestError: If nothing is shared, or nothing counts.
        """
        HeadsRecipe.__post_init__(self)  # `super()` knows nothing of classes with slots
        if self.trunk < 1:
            raise RequestError(
                f"trunk is {self.trunk!r}.",
                allowed="1 or more: these layers of the tower are what heads and answers share.",
            )
        if not any(asdict(self.weights).values()):
            raise RequestError("All weights are 0.", allowed="One task that counts, at least.")
        if self.save_every < 1 or self.optimizer.steps < 1:
            raise RequestError(
                f"save_every is {self.save_every!r}, optimizer.steps is {self.optimizer.steps!r}.", allowed="1 or more."
            )
