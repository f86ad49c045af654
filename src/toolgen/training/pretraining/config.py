"""PretrainConfig: the settings of pretraining, their defaults and reasons."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from toolgen.training.config import TOKEN_WEIGHTS, Kind
from toolgen.training.pretraining.episodes import EpisodeShape


class PretrainConfig(BaseModel):
    """The defaults suit a 135M base on one GPU; recipes/pretraining/cpu.yaml says what differs on two CPU cores."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    steps: int = Field(1500, ge=1, description="optimizer steps")
    requests: int = Field(2048, ge=8, description="requests of a step's episode")
    groups: int = Field(8, ge=1, description="groups of an episode, each from one catalog")
    conversations: int = Field(64, ge=0, description="conversations of a step; 0: the loss of calls is left out")
    replayed: int = Field(
        64, ge=0, description="texts of the untouched base in a step; 0: nothing holds the model to it"
    )
    replay_texts: int = Field(2048, ge=0, description="texts that the untouched base writes before the first step")
    replay_tokens: int = Field(160, ge=8, description="tokens of one of them")
    join: float = Field(
        0.0, ge=0, le=1, description="share of the conversations of one request that are joined with others"
    )
    vary: float = Field(
        0.0, ge=0, le=1, description="share of the conversations of one request that are drawn with other values"
    )
    frozen_share: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of the layers, from below, that stay as they are: they cost a forward pass only",
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="of the trunk; auto: bf16 where the processor multiplies it natively, else fp32"
    )
    rank: int = Field(30, ge=1, description="of the difference to each weight matrix; 30 make 18 MB of a 135M base")
    learning_rate: float = Field(8e-4, gt=0, le=1e30, description="peak, of the difference")
    row_learning_rate: float = Field(2e-3, gt=0, le=1e30, description="peak, of the row maker")
    warmup: float = Field(0.04, ge=0, le=1, description="share of the steps")
    call_weight: float = Field(0.5, ge=0, description="of the loss of calls beside that of the choice")
    token_weights: dict[Kind, Annotated[float, Field(ge=0)]] = Field(
        TOKEN_WEIGHTS, description="weight of each kind of token in the loss of calls, as in the agent stage"
    )
    replay_weight: float = Field(1.0, ge=0, description="of the divergence from the untouched base")
    teacher_share: float = Field(0.35, ge=0, le=1, description="of the targets; the rest is the label's")
    bags_dropped: float = Field(
        0.15, ge=0, le=1, description="share of the tools whose bag of words is left out of the row"
    )
    views_dropped: float = Field(
        0.16, ge=0, le=1, description="share of the tools whose description or parameters are left out of the row"
    )
    document_tokens: int = Field(112, ge=24, description="longest documentation prompt")
    request_tokens: int = Field(208, ge=24, description="longest request prompt")
    conversation_tokens: int = Field(720, ge=64, description="a longer conversation is cut at its end")
    pass_tokens: int = Field(49152, ge=256, description="tokens of one pass; bounds the memory")
    clip: float = Field(1.0, gt=0, description="largest norm of the gradient of the difference")
    seed: int = Field(0, ge=0, lt=2**32, description="of episodes and replayed texts")
    workers: int = Field(4, ge=0, description="processes that draw episodes; 0: between the steps")
    save_minutes: float = Field(5.0, gt=0, description="how often the state to resume from is written")

    @property
    def shape(self) -> EpisodeShape:
        """Of the episodes."""
        return EpisodeShape(requests=self.requests, groups=self.groups)
