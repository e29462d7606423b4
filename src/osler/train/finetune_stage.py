"""Fine-tuning on a user's own scans, or on synthetic reports: prepare, measure, update, measure, write.

A run is a function of its recipe: the samples of update s follow from the seed and s, and
the state holds all that changes. So a run that was killed goes on to the same weights, bit
for bit, and one on several processes follows the same curve as on one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from osler.errors import DataError, RequestError
from osler.prepare import with_visual_tokens
from osler.synth.xrays.render import LEAST_SIZE
from osler.train.cache_key import cache_key
from osler.train.checkpoints import save_json
from osler.train.distributed import Place, joined, shard, whole
from osler.train.film_lessons import FILM_SKILLS, film_lessons
from osler.train.film_samples import FilmSamples
from osler.train.finetune_boxes import LearnedBoxes, boxed_scans, learn_boxes, rows_of_head, write_boxes
from osler.train.finetune_model import FrozenEncoder, Learner, build_learner, image_encoder, ship_result, write_result
from osler.train.finetune_recall import open_retention
from osler.train.finetune_state import RUN_FOLDER, SUMMARY, SavedRun
from osler.train.finetune_update import Measured, measure, update
from osler.train.local_scans import KeptSamples, ScanKeeper
from osler.train.local_table import LocalRow, is_kept_out, list_unreadable, read_local_table
from osler.train.optimizer import make_optimizer, set_rate
from osler.train.phantom_scans import QUESTIONS_FILE, PhantomRequest, render_phantoms
from osler.train.picture_book import open_book
from osler.train.picture_replay import PictureReplay
from osler.train.recipe import FinetuneRecipe
from osler.train.report_shards import ReportShards, ShardOrder
from osler.train.run_log import RunLog, open_ledger
from osler.train.run_plan import PLAN_FILE, plan_of, require_same_run
from osler.train.synthetic_films import FilmRequest, read_films, render_films
from osler.train.taught import ChosenOrder, Joined, Places, Source
from osler.weights.added_parts import part_parameters
from osler.weights.catalog import find_model
from osler.weights.json_file import read_json
from osler.weights.skills import Skill

Listener = Callable[[Mapping[str, float]], None]

_FREE = ("out", "ship", "save_every", "judged", "micro_batch", "keep_tokens", "box_head")
"""Keys that a run may change when it goes on; a box head learns anew from its beginning."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lessons:
    """What a run learns from.

    Args:
        source: All samples to learn from. order: In which they are taken.
        judged: Samples to measure by, with their numbers in ``judges``.
        skills: That the weights are listed for afterwards.
        about: What is written of the data. digest: Changes whenever the data do.
    """

    source: Source
    order: Places
    judged: Source
    judges: Sequence[int]
    skills: frozenset[Skill]
    about: Mapping[str, object]
    digest: str


def train_finetune(recipe: FinetuneRecipe, *, listener: Listener | None = None) -> Path:
    """Runs the stage, from its last saved state if there is one.

    Returns:
        The folder of the model.

    Raises:
        RequestError: If the recipe does not fit its data, or another run is in the folder.
        DataError: If no row can be used.
        CheckpointError: If a file is damaged or cannot be written.
        TrainingError: If a loss is not a number.
    """
    with joined() as place:
        batch = recipe.optimizer.batch
        if batch % place.world:
            raise RequestError(
                f"An update has {batch} samples, for {place.world} processes.",
                allowed="A multiple of the number of processes.",
                next_step=f"Set optimizer.batch to {-(-batch // place.world) * place.world}.",
            )
        find_model(recipe.base)
        # What is wrong with the table is said before the weights are loaded.
        table = read_local_table(Path(recipe.csv)) if recipe.csv else None
        boxed = rows_of_head(recipe, table=table) if table is not None else ()
        alone = table is not None and boxed and len(boxed) == len(table.rows) and not recipe.parts
        learner = build_learner(recipe, device=place.device, decoder="stays" if alone else "learns")
        boxes = None
        if boxed:
            assert table is not None
            scans = boxed_scans(recipe, rows=boxed, checkpoint=learner.checkpoint, place=place, listener=listener)
            _same_run(recipe, digest=table.digest, learner=learner, place=place)
            folder = Path(recipe.out) / RUN_FOLDER
            boxes = learn_boxes(
                recipe, scans=scans, checkpoint=learner.checkpoint, folder=folder, place=place, listener=listener
            )
            if alone:
                return write_boxes(recipe, learner=learner, table=table, boxes=boxes, place=place)
        lessons = _lessons(recipe, learner=learner, place=place, listener=listener, boxed=boxed, boxes=boxes)
        _same_run(recipe, digest=lessons.digest, learner=learner, place=place)
        shard(learner.teacher, layers=list(learner.model.decoder.layers), place=place)
        return _teach(recipe, learner=learner, lessons=lessons, place=place, listener=listener, boxes=boxes)


def _teach(
    recipe: FinetuneRecipe,
    *,
    learner: Learner,
    lessons: Lessons,
    place: Place,
    listener: Listener | None,
    boxes: LearnedBoxes | None,
) -> Path:
    out = Path(recipe.out)
    folder = out / RUN_FOLDER
    trainable = learner.trainable()
    parts = {id(parameter) for _, parameter in part_parameters(learner.model, learner.parts)}
    groups = [
        ([p for p in trainable.values() if id(p) not in parts], 1.0),
        ([p for p in trainable.values() if id(p) in parts], recipe.parts_rate),
    ]
    optimizer = make_optimizer(groups, config=recipe.optimizer)
    run = SavedRun(learner.teacher, optimizer=optimizer, average=recipe.optimizer.average, folder=folder, place=place)
    before = _before(recipe, learner=learner, lessons=lessons, place=place)
    retention = open_retention(recipe, learner=learner, folder=folder, place=place)
    first = run.resume()
    log = RunLog(folder, first=first, listener=listener) if place.first else None
    ledger = open_ledger(folder, first=first, place=place)
    steps = recipe.optimizer.steps
    for step in range(first, steps):
        rate = set_rate(optimizer, step=step, config=recipe.optimizer)
        done = update(
            recipe,
            learner=learner,
            source=lessons.source,
            order=lessons.order,
            optimizer=optimizer,
            step=step,
            place=place,
            retention=retention,
        )
        run.average()
        ledger.note(step=step, samples=done.names)
        if log is not None:
            drift = {} if done.drift is None else {"recall": done.drift}
            log.write(
                step=step, rate=rate, norm=done.norm, loss=done.loss, right=done.right, tokens=done.tokens, **drift
            )
        if (step + 1) % recipe.save_every == 0 or step + 1 == steps:
            run.save(step + 1)
    run.settle()
    after = measure(recipe, learner=learner, source=lessons.judged, numbers=lessons.judges, place=place)
    sharded = place.mesh is not None
    weights = {name: whole(parameter.detach()).cpu() for name, parameter in trainable.items()} if sharded else None
    if place.first:
        taught = None if boxes is None else boxes.taught
        skills: frozenset[Skill] = lessons.skills | ({"boxes"} if taught is not None else set())
        write_result(recipe, learner=learner, weights=weights, skills=skills, boxes=taught)
        if recipe.ship:
            ship_result(recipe, learner=learner)
        about = {
            **lessons.about,
            "updates": max(first, steps),
            "kept_out": {"before": asdict(before), "after": asdict(after)}
            | ({} if taught is None else {"boxes": asdict(taught.measured)}),
        }
        save_json(folder / SUMMARY, about)
    place.wait()
    return out


def _before(recipe: FinetuneRecipe, *, learner: Learner, lessons: Lessons, place: Place) -> Measured:
    """Kept-out samples under the base, measured once and remembered; the adapter still adds nothing."""
    path = Path(recipe.out) / RUN_FOLDER / "before.json"
    key = f"{lessons.digest} {recipe.judged} {recipe.precision}"
    known = read_json(path) if path.is_file() else {}
    if known.get("key") == key:
        return Measured(**known["measured"])
    before = measure(recipe, learner=learner, source=lessons.judged, numbers=lessons.judges, place=place)
    place.wait()
    if place.first:
        save_json(path, {"key": key, "measured": asdict(before)})
    return before


def _lessons(
    recipe: FinetuneRecipe,
    *,
    learner: Learner,
    place: Place,
    listener: Listener | None,
    boxed: Sequence[LocalRow] = (),
    boxes: LearnedBoxes | None = None,
) -> Lessons:
    """What the decoder learns from; rows of a table that a box head has learned are left out."""
    if recipe.reports:
        return _report_lessons(recipe, learner=learner)
    if recipe.films:
        return _film_lessons(recipe, learner=learner, place=place, listener=listener)
    folder = Path(recipe.out) / RUN_FOLDER
    table = read_local_table(_table(recipe, place=place, listener=listener))
    count = len(table.rows) + len(table.unreadable)
    lines, lost = {row.line for row in boxed}, () if boxes is None else boxes.unreadable
    table = replace(table, rows=tuple(row for row in table.rows if row.line not in lines))
    encode = image_encoder(learner)
    reads = isinstance(encode, FrozenEncoder) and encode.reads
    contract = with_visual_tokens(learner.checkpoint.preprocess, recipe.visual_tokens or None)
    keeper = ScanKeeper(
        checkpoint=replace(learner.checkpoint, preprocess=contract),
        encode=encode,
        folder=folder / "scans",
        method=" ".join((recipe.method, *recipe.parts, *(["tubelets"] if learner.tubelets else []))),
        slices=recipe.slices,
        read=encode.reading if reads else None,
    )

    def on_progress(done: int, total: int) -> None:
        if listener is not None and place.first:
            listener({"scans": done, "scans in all": total})

    if place.first:
        scans = keeper.keep(table, share=recipe.kept_out, on_progress=on_progress)
        list_unreadable(folder / "unreadable.csv", entries=(*scans.unreadable, *lost))
    place.wait()
    if not place.first:  # all is kept now, and only read
        scans = keeper.keep(table, share=recipe.kept_out)
    labels = [bool(row.label) for row in table.rows]
    skills: set[Skill] = {"answers"} if not all(labels) else set()
    kept = KeptSamples(scans.train)
    source, used = _between_pictures(
        recipe, source=kept, used=range(len(kept)), learner=learner, on_progress=on_progress
    )
    return Lessons(
        source=source,
        order=ChosenOrder(used, seed=recipe.seed),
        judged=KeptSamples(scans.kept_out),
        judges=_spread(len(scans.kept_out), most=recipe.judged),
        skills=frozenset(skills | ({"box_text"} if any(labels) else set())),
        about={
            "rows": count,
            "unreadable": len(scans.unreadable) + len(lost),
            "train_samples": len(scans.train),
            "kept_out_samples": len(scans.kept_out),
            "preprocess_hashes": scans.contracts,
        },
        digest=table.digest,
    )


def _table(recipe: FinetuneRecipe, *, place: Place, listener: Listener | None) -> Path:
    """The table of scans: the user's, or that of phantoms, which are rendered where they are not there."""
    if not recipe.phantoms:
        return Path(recipe.csv)
    request = PhantomRequest(seed=recipe.phantom_seed, patients=recipe.phantom_patients, kept_out=recipe.kept_out)

    def on_progress(done: int, total: int) -> None:
        if listener is not None:
            listener({"phantoms": done, "phantoms in all": total})

    if place.first:
        render_phantoms(Path(recipe.phantoms), request=request, on_progress=on_progress)
    place.wait()
    return Path(recipe.phantoms) / QUESTIONS_FILE


def _report_lessons(recipe: FinetuneRecipe, *, learner: Learner) -> Lessons:
    shards = ReportShards(Path(recipe.reports), checkpoint=learner.checkpoint)
    kept = shards.kept_out_shards(share=recipe.kept_out)
    used = [number for number in range(len(shards.paths)) if number not in kept]
    judges = [int(shards.starts[k]) + i for k in kept for i in range(int(shards.counts[k]))]
    names = " ".join(f"{path.name} {count}" for path, count in zip(shards.paths, shards.counts, strict=True))
    order = ShardOrder(used, counts=shards.counts, starts=shards.starts, seed=recipe.seed)
    return Lessons(
        source=shards,
        order=order,
        judged=ReportShards(Path(recipe.reports), checkpoint=learner.checkpoint),
        judges=[judges[i] for i in _spread(len(judges), most=recipe.judged)],
        skills=frozenset({"answers"}),
        about={"train_samples": order.count, "kept_out_samples": len(judges), "shards": len(shards.paths)},
        digest=names,
    )


def _film_lessons(recipe: FinetuneRecipe, *, learner: Learner, place: Place, listener: Listener | None) -> Lessons:
    """Films of synthetic patients, kept apart by the hash of the patient."""
    lacks_heads = learner.checkpoint.model.heads is None
    if learner.full or ("box-tokens" in recipe.tasks and lacks_heads):
        raise RequestError(
            "Films are taught to an adapter, box tokens to weights with a box head."
            if learner.full
            else f"The weights {recipe.base!r} have no box head that could read box tokens.",
            next_step='Set method = "lora".' if learner.full else "Take box-tokens out of the tasks.",
        )
    size = max(LEAST_SIZE, learner.checkpoint.preprocess.image_size)
    request = FilmRequest(seed=recipe.film_seed, patients=recipe.film_patients, size=size)
    if place.first:
        render_films(Path(recipe.films), request=request, workers=recipe.workers)
    place.wait()
    films = tuple(film for film in read_films(Path(recipe.films)) if film.patient < recipe.film_patients)
    lessons = film_lessons(films, tasks=recipe.tasks, seed=recipe.film_seed)  # type: ignore[arg-type]
    if not lessons:
        raise DataError(f"The films in {recipe.films!r} give no lesson.", next_step="Raise film_patients.")

    def on_progress(done: int, total: int) -> None:
        if listener is not None and place.first:
            listener({"films": done, "films in all": total})

    source = FilmSamples(
        films,
        lessons,
        checkpoint=learner.checkpoint,
        encode=image_encoder(learner),
        folder=Path(recipe.out) / RUN_FOLDER / "films",
        on_progress=on_progress,
    )
    out = [is_kept_out(f"synthetic {films[one.film].patient}", share=recipe.kept_out) for one in lessons]
    judges = [number for number, kept in enumerate(out) if kept]
    used = [number for number, kept in enumerate(out) if not kept]
    counts = {
        task: sum(not kept and one.task == task for one, kept in zip(lessons, out, strict=True))
        for task in recipe.tasks
    }
    if not used:
        raise DataError("All patients are kept out.", next_step="Keep out fewer, or raise film_patients.")
    taught = _between_pictures(recipe, source=source, used=used, learner=learner, on_progress=on_progress)
    return Lessons(
        source=taught[0],
        order=ChosenOrder(taught[1], seed=recipe.seed),
        judged=source,
        judges=[judges[i] for i in _spread(len(judges), most=recipe.judged)],
        skills=frozenset().union(*(FILM_SKILLS[task] for task in recipe.tasks)),
        about={"train_samples": len(used), "kept_out_samples": len(judges), "films": len(films), "lessons": counts},
        digest=cache_key(lessons=[(one.task, one.film, one.question, one.answer, one.box) for one in lessons]),
    )


def _between_pictures(
    recipe: FinetuneRecipe,
    *,
    source: Source,
    used: Sequence[int],
    learner: Learner,
    on_progress: Callable[[int, int], None],
) -> tuple[Source, Sequence[int]]:
    """Adds the pictures of the training sets: they come as often as their share, however many there are."""
    if not recipe.pictures:
        return source, used
    pictures = PictureReplay(
        open_book(Path(recipe.pictures), split="train", preprocess=learner.checkpoint.preprocess),
        count=recipe.picture_count,
        checkpoint=learner.checkpoint,
        encode=image_encoder(learner),
        folder=Path(recipe.out) / RUN_FOLDER / "pictures",
        seed=recipe.seed,
        on_progress=on_progress,
    )
    wanted = round(len(used) * recipe.picture_share / (1 - recipe.picture_share))
    return Joined(source, pictures), [*used, *(len(source) + number % len(pictures) for number in range(wanted))]


def _spread(count: int, *, most: int) -> list[int]:
    return [i * count // most for i in range(most)] if count > most else list(range(count))


def _same_run(recipe: FinetuneRecipe, *, digest: str, learner: Learner, place: Place) -> None:
    """Refuses to go on with a run of another recipe, other data or another base."""
    path = Path(recipe.out) / RUN_FOLDER / PLAN_FILE
    plan = plan_of(recipe, free=_FREE, also={"data": digest, "weights": learner.checkpoint.digest})
    require_same_run(path, recipe=recipe, plan=plan, free=_FREE, anew="its folder run/")
    place.wait()
    if place.first and not path.is_file():
        if (Path(recipe.out) / "config.json").is_file():
            raise RequestError(
                f"{recipe.out!r} holds a model already.", allowed="A new folder.", next_step="Choose another `out`."
            )
        save_json(path, plan)
