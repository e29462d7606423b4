"""The network of a joint run: what learns, how answers reach the layers that heads share, and the folder it becomes.

Dimensions: B samples, N images, P patches, V width of the tower, L tokens, D width of the decoder.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from osler.errors import RequestError
from osler.model.config import HeadsConfig, OslerConfig
from osler.model.osler import Osler
from osler.model.projector import Projector
from osler.prepare import Preprocess
from osler.train.distributed import Place, shard
from osler.train.losses import TaskWeights
from osler.train.perception_losses import share_states
from osler.train.perception_stage import PerceptionTrainee
from osler.train.taught import MicroBatch
from osler.train.teacher import AnswerTeacher, Weigh
from osler.weights.assemble import assemble
from osler.weights.catalog import GEMMA_TERMS
from osler.weights.checkpoint import Checkpoint
from osler.weights.lora import LoraConfig, add_lora, merge_lora
from osler.weights.osler_folder import save_osler_folder
from osler.weights.skills import Skill


class JointTrainee(PerceptionTrainee):
    """All that learns: heads with their trunk, attention over time, projector, and a LoRA on the decoder.

    The base computes with it from then on: its own heads, attention over time and projector are taken off.

    Args:
        base: Tower, projector and decoder; changed in place, the rest of it is frozen.
        config: With ``heads`` and ``temporal``.
        lora: The adapter on the decoder.
    """

    def __init__(self, base: Osler, *, config: OslerConfig, lora: LoraConfig) -> None:
        super().__init__(base, config=config)
        assert config.vision is not None
        assert base.projector is not None
        base.requires_grad_(False)
        self.projector = Projector(config, vision=config.vision)
        self.projector.load_state_dict({name: t.float() for name, t in base.projector.state_dict().items()})
        add_lora(base.language_model, config=lora)
        self.take_adapter(base)
        base.config, base.heads, base.temporal = config, self.heads, self.temporal
        base.multi_modal_projector = self.projector

    def take_adapter(self, base: Osler) -> None:
        """Names the parameters of the LoRA, which are others once the decoder was shared out (`share_out`)."""
        # Names of a module's parameters hold no dot.
        named = {n: p for n, p in base.language_model.named_parameters() if p.requires_grad}
        self.adapter = nn.ParameterDict({name.replace(".", "/"): parameter for name, parameter in named.items()})


def share_out(trainee: JointTrainee, *, teacher: JointTeacher, place: Place) -> None:
    """Divides the network among the processes of a run; nothing happens in a run of one.

    Decoder with LoRA and embeddings, nearly all of the weights, are shared out by FSDP2. Heads with their trunk,
    attention over time and projector stay whole in each process: they are small, and run as often as a process has
    pictures, which patients have unequally many of, so that shares would wait for each other. Their gradients are
    averaged (`mean_gradients`), and states of findings are normalized over the pictures of all. The frozen tower stays
    whole, too: it does not run, so there is no reason to gather it.
    """
    if place.mesh is None:
        return
    assert teacher.model.vision is not None
    held = {parameter for name, parameter in trainee.named_parameters() if not name.startswith("adapter.")}
    held |= set(teacher.model.vision.parameters())
    shard(teacher, layers=list(teacher.model.decoder.layers), place=place, but=held)
    trainee.take_adapter(teacher.model)
    share_states(trainee, place=place)


def require_joint(model: Osler, *, base: str, trunk: int) -> None:
    """Checks that a base has what a joint run shares.

    Raises:
        RequestError: If it has no tower, too few layers, or parts that read the tower and do not learn here.
    """
    if model.vision is None:
        raise RequestError(f"The weights {base!r} have no image tower.", allowed="Weights with a tower.")
    layers = len(model.vision.encoder.layers)
    if trunk > layers:
        raise RequestError(f"trunk is {trunk!r}.", allowed=f"1 to {layers}: the tower of {base!r} has {layers} layers.")
    others = [name for name in ("volume", "adapter") if getattr(model.config, name) is not None]
    if others:
        raise RequestError(
            f"The weights {base!r} have parts that read the tower as it was: {', '.join(others)}.",
            allowed="Weights without them: the stage 'joint' changes the tower, and does not teach them.",
            next_step='Teach them afterwards: stage = "finetune" with parts.',
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AnswerLosses:
    """Of a micro-batch.

    Args:
        sums: By task: ``next_token`` over tokens (or samples, see `AnswerTeacher.units`), ``boxes`` over box tokens;
            without those that do not count or are not there.
        each_B: Loss of the tokens of each sample, without gradient. right: Tokens that were right.
    """

    sums: Mapping[str, Tensor]
    each_B: Tensor
    right: Tensor


class JointTeacher(AnswerTeacher):
    """Computes the losses of answers; of images it gets what the frozen layers of the tower made, (N, P, V).

    Soft tokens, and what the box head reads at a box token, pass the trunk that the heads learn on.

    Args:
        model: The base of a `JointTrainee`.
        preprocess: See `AnswerTeacher`. keep_tokens: See there. weigh: See there.
    """

    def __init__(self, model: Osler, *, preprocess: Preprocess, keep_tokens: int, weigh: Weigh = "tokens") -> None:
        super().__init__(model, preprocess=preprocess, keep_tokens=keep_tokens, box_weight=1.0, weigh=weigh)

    def losses(self, micro: MicroBatch, *, weights: TaskWeights) -> AnswerLosses:
        """Runs the network; what weighs nothing is not computed."""
        sums, each_B, right = self(micro, weights=weights)
        return AnswerLosses(sums=sums, each_B=each_B, right=right)

    def forward(self, micro: MicroBatch, *, weights: TaskWeights) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Runs the network; returns what `AnswerLosses` holds, in types whose tensors FSDP finds."""
        micro = self._through_trunk(micro)
        hidden_BLD = self.read(micro)
        sums: dict[str, Tensor] = {}
        each_B = right = torch.zeros(len(micro.names))
        if weights.next_token:
            sums["next_token"], each_B, right = self.token_losses(hidden_BLD, micro)
        if weights.boxes and micro.boxes_Q6 is not None:
            sums["boxes"] = self.box_losses(hidden_BLD, micro)
        elif not weights.next_token:
            # Other processes have boxes: all go backward through the decoder, or those would wait.
            sums["boxes"] = hidden_BLD.float().sum() * 0
        return sums, each_B, right.sum()

    def _through_trunk(self, micro: MicroBatch) -> MicroBatch:
        assert micro.images is not None
        assert self.model.heads is not None
        assert self.model.projector is not None
        seen_NPV = self.model.heads.trunk(micro.images.to(self.model.dtype))
        return replace(micro, images=self.model.projector(seen_NPV), seen_BPV=seen_NPV[list(micro.starts)])


def joint_model(trainee: JointTrainee, *, base: Osler, heads: HeadsConfig, dtype: torch.dtype) -> Osler:
    """Makes one plain network of a trainee and its base, which is used up: the LoRA is merged.

    The trunk becomes the tower's last layers, so heads and decoder read the same features, and there is no trunk.

    Args:
        heads: Their configuration, with what is said of their use. dtype: Of all weights.
    """
    assert base.vision is not None
    merge_lora(base.language_model)
    trunk = trainee.heads.trunk
    first = len(base.vision.encoder.layers) - len(trunk.layers)
    tensors = {name: tensor for name, tensor in base.state_dict().items() if not name.startswith("heads.trunk.")}
    for number, layer in enumerate(trunk.layers):
        stem = f"vision_tower.encoder.layers.{first + number}"
        tensors |= {f"{stem}.{name}": tensor for name, tensor in layer.state_dict().items()}
    tensors |= {f"vision_tower.post_layernorm.{name}": tensor for name, tensor in trunk.norm.state_dict().items()}
    config = replace(base.config, heads=replace(heads, trunk=0))
    return assemble(config, {name: tensor.detach().to(dtype) for name, tensor in tensors.items()}, source=config.name)


def write_model(folder: Path, model: Osler, *, checkpoint: Checkpoint, trained: Iterable[Skill]) -> None:
    """Writes a network as a folder that ``--model`` opens.

    Raises:
        CheckpointError: If the folder cannot be written or is full.
    """
    save_osler_folder(
        model,
        folder,
        preprocess=checkpoint.preprocess,
        tokenizer=checkpoint.tokenizer,
        licence="Gemma Terms of Use" if checkpoint.licence == GEMMA_TERMS else "unknown",
        trained=trained,
    )
