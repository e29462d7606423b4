"""Recipes: one TOML file a training run, loaded into frozen dataclasses.

A key that no recipe has is refused, with the nearest match. Each file's header
has the command that runs it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from osler.errors import RequestError, unknown_name
from osler.train.augment import AugmentConfig
from osler.train.emphasis import Emphasis
from osler.train.heads_recipe import JointRecipe, PerceptionRecipe
from osler.train.lessons import LessonConfig
from osler.train.optimizer_config import OptimizerConfig
from osler.train.parts_choice import check_choice
from osler.train.picture_book import Extras, Shares
from osler.train.recall import RecallConfig
from osler.train.recipe_file import build, read_table


@dataclass(frozen=True, slots=True, kw_only=True)
class VisionLosses:
    """Weights of the labels that teach the image tower."""

    modality: float = 0.5
    region: float = 1.0
    plane: float = 1.0
    view: float = 2.0
    sequence: float = 0.5
    detail: float = 0.3
    findings: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class VisionRecipe:
    """Teaches the image tower to see what a picture is.

    Args:
        stage: ``"vision"``.
        config: Name of the network.
        data: Folder of the public sets; ``"generated"`` draws simple pictures only.
        out: Folder of the run: cache, checkpoints, metrics.
        pictures: Rendered pictures. workers: Processes that render. precision: Of the arithmetic (autocast).
        keep_patches: Share of the patches an image keeps until ``full_from``.
        full_from: Share of the run after which all patches are kept.
        save_every: Updates between checkpoints.
        extras: Files of other packages.
    """

    stage: Literal["vision"]
    config: str
    data: str
    out: str
    optimizer: OptimizerConfig
    pictures: int = 14_000
    workers: int = 2
    seed: int = 1
    keep_patches: float = 0.5
    full_from: float = 0.87
    save_every: int = 100
    precision: Literal["bfloat16", "float32"] = "bfloat16"
    emphasis: Emphasis = field(default_factory=Emphasis)
    losses: VisionLosses = field(default_factory=VisionLosses)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    shares: Shares = field(default_factory=Shares)
    extras: Extras = field(default_factory=Extras)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswersRecipe:
    """Teaches the projector, and the decoder through a LoRA, to answer.

    Args:
        stage: ``"answers"``. config: See `VisionRecipe`. data: See there. out: See there. precision: See there.
        seed: Of what is new, and of the order of the samples. save_every: Updates between checkpoints.
        tower: The tower's file of the vision stage.
        pictures: Rendered pictures of the vision stage: their folder.
        use_pictures: How many of them to encode. more_sections: Further CT and MR pictures of VQA-RAD.
        blanks: Pictures without content, drawn for this stage.
        ship: Folder that the shipped parts are written to at every save; empty for none.
        rank: Of the LoRA. alpha: Scale of the LoRA.
        adapter_rate: Share of the learning rate that the LoRA gets; the projector gets all of it.
        hippocampi: Hippocampus crops rendered as volumes. slices: Slices of a rendered volume.
        emphasis: How often kinds of pictures are taken.
        recall: What holds the decoder to what it knew.
        extras: Files of other packages, as in the vision stage.
    """

    stage: Literal["answers"]
    config: str
    data: str
    out: str
    tower: str
    pictures: str
    optimizer: OptimizerConfig
    use_pictures: int = 10_000
    more_sections: int = 0
    blanks: int = 400
    ship: str = ""
    seed: int = 2
    rank: int = 16
    alpha: float = 32.0
    adapter_rate: float = 0.3
    hippocampi: int = 50
    slices: int = 16
    save_every: int = 100
    precision: Literal["bfloat16", "float32"] = "bfloat16"
    lessons: LessonConfig = field(default_factory=LessonConfig)
    recall: RecallConfig = field(default_factory=RecallConfig)
    emphasis: Emphasis = field(default_factory=Emphasis)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    extras: Extras = field(default_factory=Extras)


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxTeaching:
    """How a box head learns the labels of a table.

    Args:
        optimizer: Of the head; an update takes ``batch`` scans.
        views: Augmented ones that are kept of a scan, the first as it is.
        blanks: Pictures of nothing, on which no label is there.
    """

    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(
            steps=400, batch=16, learning_rate=5e-4, warmup=20, weight_decay=0.03, clip=5.0, average=0.98
        )
    )
    views: int = 6
    blanks: int = 16

    def __post_init__(self) -> None:
        """Checks the counts.

        Raises:
            RequestError: If one is out of its range.
        """
        for name, value, least in (
            ("views", self.views, 1),
            ("blanks", self.blanks, 0),
            ("optimizer.steps", self.optimizer.steps, 1),
            ("optimizer.batch", self.optimizer.batch, 1),
        ):
            if value < least:
                raise RequestError(f"box_head.{name} is {value!r}.", allowed=f"{least} or more.")


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneRecipe:
    """Teaches a model from a table of local scans, or from synthetic reports, films or phantoms.

    Args:
        stage: ``"finetune"``. precision: See `VisionRecipe`.
        out: The folder of the fine-tuned model; the run keeps its state in ``run/`` within it.
        csv: Table with ``path, question, answer``, or ``path, label, x0, y0, x1, y1`` (see `osler.train.local_table`).
        reports: Folder of Parquet shards of `osler synth reports`, in place of ``csv``.
        films: Folder for films of synthetic patients, rendered where they are not there, in place of ``csv``.
        film_patients: See `PerceptionRecipe`. film_seed: See there. workers: See there.
        tasks: What is taught on films (see `osler.train.film_lessons`): ``record`` (image and record together),
            ``report``, ``boxes`` (as text), ``box-tokens``.
        pictures: Folder with the training sets, or ``"generated"``: pictures that are shown between films or scans
            with questions on what they are, so that it stays known; empty for none.
        picture_share: Of the samples. picture_count: Different pictures.
        box_weight: Of the loss of a box at a box token, against that of a token.
        weigh: See `AnswerTeacher`.
        base: Name or folder of the model to start from.
        method: ``"lora"`` trains an adapter on the decoder, ``"full"`` all weights, ``"parts"`` the parts alone.
        parts: That learn, ``"volume"`` and ``"adapter"``; those that the base lacks are added to it.
        parts_rate: Share of the learning rate that they get.
        tubelets: ``"learn"`` also trains what precedes the tower, through it.
        visual_tokens: Most tokens of a scan's volumes, which are then read as slabs; 0: as the base says.
        phantoms: Folder for synthetic CT and MR with questions (see `osler.train.phantom_scans`), in place of ``csv``.
        phantom_patients: Patient numbers that are looked at for them. phantom_seed: Of the patients.
        kept_out: Share of the patients that are never trained on, to measure by; chosen by a hash.
        rank: Of the LoRA. alpha: Scale of the LoRA.
        micro_batch: Samples computed at a time; an update adds up the gradients of ``optimizer.batch``.
        keep_tokens: Tokens of a micro-batch above which activations are computed again in the backward pass.
        slices: Slices of a volume that a box is taught on as text.
        boxes: Who learns the boxes of a table: ``"head"``, a box head of its own beside the base's; ``"text"``, the
            decoder, as published box text; ``"auto"``: a head where the base has one and a label stands once on a scan.
        box_head: How that head learns.
        judged: Kept-out samples that are measured at most.
        recall: What holds the decoder to what its base says on plain text (`RecallConfig`, its weight 0 by default);
            for one process and an adapter.
        ship: A copy of the base folder, whose adapter the new one is stacked onto at the end; empty for none.
        seed: Of the adapter and of the order of the samples. save_every: Updates between saved states.
    """

    stage: Literal["finetune"]
    out: str
    csv: str = ""
    reports: str = ""
    phantoms: str = ""
    phantom_patients: int = 300
    phantom_seed: int = 21
    films: str = ""
    film_patients: int = 3000
    film_seed: int = 11
    tasks: tuple[str, ...] = ("record", "report")
    pictures: str = ""
    picture_share: float = 0.25
    picture_count: int = 1200
    box_weight: float = 2.0
    weigh: Literal["tokens", "samples"] = "tokens"
    workers: int = 2
    base: str = "osler-mini"
    method: Literal["lora", "full", "parts"] = "lora"
    parts: tuple[str, ...] = ()
    parts_rate: float = 1.0
    tubelets: Literal["frozen", "learn"] = "frozen"
    visual_tokens: int = 0
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(steps=200, batch=8, learning_rate=5e-4, warmup=10, weight_decay=0.0)
    )
    kept_out: float = 0.2
    rank: int = 16
    alpha: float = 32.0
    micro_batch: int = 4
    keep_tokens: int = 2048
    slices: int = 8
    boxes: Literal["auto", "head", "text"] = "auto"
    box_head: BoxTeaching = field(default_factory=BoxTeaching)
    judged: int = 200
    recall: RecallConfig = field(default_factory=lambda: RecallConfig(weight=0.0))
    ship: str = ""
    seed: int = 1
    save_every: int = 50
    precision: Literal["bfloat16", "float32"] = "bfloat16"

    def __post_init__(self) -> None:
        """Checks what the types do not say.

        Raises:
            RequestError: If there are no data, or two sources, or a number is out of its range.
        """
        named = [name for name in ("csv", "reports", "films", "phantoms") if getattr(self, name)]
        if len(named) != 1:
            given = f"{' and '.join(named)} together" if named else "neither csv nor reports nor films nor phantoms"
            raise RequestError(
                f"The recipe names {given}.",
                allowed="One source: csv (a table of local scans), reports (Parquet shards of osler synth reports), "
                "films or phantoms (of synthetic patients).",
                next_step='Add csv = "DATA.csv" to the recipe, or --csv DATA.csv to the command.',
            )
        for name, value in (("out", self.out), ("base", self.base)):
            if not value:
                raise RequestError(f"The recipe's {name} is empty.", allowed="A name or a path.")
        check_choice(
            self.parts,
            method=self.method,
            tubelets=self.tubelets,
            visual_tokens=self.visual_tokens,
            source=named[0],
        )
        if self.pictures and (not (self.films or self.csv) or self.method != "lora" or self.parts):
            raise RequestError(
                "Pictures are shown between films, or between the scans of a table, to an adapter alone.",
                next_step='Name films or csv, set method = "lora" and no parts; or leave pictures out.',
            )
        if self.recall.weight > 0 and self.method != "lora":
            raise RequestError(
                f"recall.weight is {self.recall.weight!r} under method = {self.method!r}.",
                allowed='More than 0 with method = "lora" only: the base is the network without its adapter.',
            )
        if not 0 < self.picture_share < 1:
            raise RequestError(f"picture_share is {self.picture_share!r}.", allowed="Between 0 and 1.")
        if not 0 <= self.kept_out < 1:
            raise RequestError(f"kept_out is {self.kept_out!r}.", allowed="0 up to, but not, 1.")
        numbers = {
            name: getattr(self, name)
            for name in ("rank", "micro_batch", "slices", "judged", "save_every", "picture_count", "phantom_patients")
        }
        numbers |= {"optimizer.steps": self.optimizer.steps, "optimizer.batch": self.optimizer.batch}
        for name, value in numbers.items():
            if value < 1:
                raise RequestError(f"{name} is {value!r}.", allowed="1 or more.")


Recipe = VisionRecipe | AnswersRecipe | PerceptionRecipe | JointRecipe | FinetuneRecipe
_STAGES: dict[str, type[VisionRecipe | AnswersRecipe | PerceptionRecipe | JointRecipe | FinetuneRecipe]] = {
    "vision": VisionRecipe,
    "answers": AnswersRecipe,
    "perception": PerceptionRecipe,
    "joint": JointRecipe,
    "finetune": FinetuneRecipe,
}


def load_recipes(path: str | Path) -> tuple[Recipe, ...]:
    """Reads a recipe file: one stage, or several under ``[[stages]]`` that run in order.

    Raises:
        RequestError: If it is absent, not TOML, or has unknown or missing keys.
    """
    table = read_table(path)
    tables = table.get("stages", [table])
    if not isinstance(tables, list) or (len(table) > 1 and "stages" in table):
        raise RequestError(f"{str(path)!r} mixes [[stages]] with other keys.", allowed="Either one stage or a list.")
    recipes = []
    for number, stage in enumerate(tables):
        where = f"{Path(path).name}" if len(tables) == 1 else f"{Path(path).name} stage {number + 1}"
        name = stage.get("stage")
        if name not in _STAGES:
            raise unknown_name(f"stage in {where}", name=str(name), known=_STAGES)
        recipes.append(build(_STAGES[name], stage, where=where))
    return tuple(recipes)
