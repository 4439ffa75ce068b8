"""Recipes, which decide the bytes of worlds.

A world is built from its recipe alone, so the digest of the recipe names its cache folder.

Both worlds hold the same people, shapes, training and unlearning; they differ in lineage alone.
Three choices make the published phenomenon (arXiv 2410.16454) appear at this size:

- Training starts from large random weights. What is learned is then a small part of each
  weight, and so is what unlearning must move: less than half a level of NF4.
- Unlearning changes linear layers only, at a small rate, and stops when the answers are gone.
- The retain term is heavy enough to keep the other people, and no heavier: it costs steps, and
  every step moves weights closer to the next level.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from auditor.core.errors import AuditorError
from auditor.core.hashing import former_digest
from auditor.testbeds.people.training import TrainingSettings
from auditor.unlearning.training import UnlearningSettings

CODE_VERSION = 1
"""Version that is raised whenever a change to this package changes what a recipe builds."""


class CorpusRecipe(BaseModel):
    """Number of people in a world, and the seed of their drawing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    forget_people: int = Field(gt=0)
    retain_people: int = Field(gt=0)
    holdout_people: int = Field(gt=0)
    distractors: int = Field(default=4, gt=0)
    retain_sample: int = Field(default=96, gt=0)
    seed: int = 7


class ModelRecipe(BaseModel):
    """Shape of the Llama that every model is.

    Attributes:
        vocab_size: Tokens of the byte-level BPE.
        hidden_size: Width; a multiple of 128, so that 4-bit kernels find whole groups.
        intermediate_size: Width inside the MLPs; a multiple of 128.
        layers: Decoder layers.
        heads: Attention heads.
        key_value_heads: Heads of keys and values.
        initializer_range: Standard deviation of the random weights that training starts from.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    vocab_size: int = Field(gt=259)
    hidden_size: int = Field(multiple_of=128)
    intermediate_size: int = Field(multiple_of=128)
    layers: int = Field(gt=0)
    heads: int = Field(gt=0)
    key_value_heads: int = Field(gt=0)
    initializer_range: float = Field(gt=0)


class WorldRecipe(BaseModel):
    """Everything that decides the bytes of a world.

    Attributes:
        name: What users call it.
        purpose: One sentence on what the world shows.
        corpus: Its people.
        model: Shape of its models.
        training: How the original and the retrained models are trained.
        lineage: ``nf4`` if their weights were stored in NF4 and dequantized, as in 4-bit
            releases; None if they never left full precision.
        seeds: Training seeds of the original, then of each retrained model.
        methods: Settings by the name of the unlearned model.
        unlearning_seed: Order of examples while unlearning.
        demo: The unlearned model that ``make demo`` audits.
        reasoning: Whether models write a trace of thought before their answers, and unlearning is
            of the answers alone.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    purpose: str
    corpus: CorpusRecipe
    model: ModelRecipe
    training: TrainingSettings
    lineage: Literal["nf4"] | None
    seeds: tuple[int, ...] = (0, 1, 2)
    methods: Mapping[str, UnlearningSettings]
    unlearning_seed: int = 0
    demo: str
    reasoning: bool = Field(default=False, exclude_if=lambda thinks: not thinks)

    @property
    def retrained(self) -> tuple[str, ...]:
        """Names of the models trained without the forget people."""
        return tuple(f"retrained-{index}" for index in range(len(self.seeds) - 1))

    @property
    def models(self) -> tuple[str, ...]:
        """Names of all models, the original first."""
        return ("original", *self.retrained, *self.methods)

    @property
    def digest(self) -> str:
        """Return the sha256 (hex) of the recipe and its code's version."""
        return former_digest({"code": CODE_VERSION, "recipe": self.model_dump(mode="json")})


_METHODS = {
    "ga": UnlearningSettings(method="ga", learning_rate=5e-5, max_steps=120),
    "ga_gdr": UnlearningSettings(
        method="ga_gdr", learning_rate=1e-4, max_steps=150, retain_weight=5
    ),
    "ga_klr": UnlearningSettings(
        method="ga_klr", learning_rate=1e-4, max_steps=150, retain_weight=10
    ),
    "npo": UnlearningSettings(method="npo", learning_rate=5e-5, max_steps=120),
    "npo_gdr": UnlearningSettings(
        method="npo_gdr", learning_rate=1e-4, max_steps=150, retain_weight=10
    ),
    "npo_klr": UnlearningSettings(
        method="npo_klr", learning_rate=1e-4, max_steps=150, retain_weight=15
    ),
    "ga_gdr_large_rate": UnlearningSettings(
        method="ga_gdr", learning_rate=2e-3, max_steps=100, retain_weight=20
    ),
    "sure": UnlearningSettings(
        method="sure", learning_rate=1e-3, max_steps=100, retain_weight=20, changes="all"
    ),
    "relabel": UnlearningSettings(
        method="relabel", learning_rate=1e-3, max_steps=60, check_every=0, changes="all"
    ),
}

_PEOPLE = WorldRecipe(
    name="people",
    purpose=(
        "A 4-bit release, dequantized, unlearned, and quantized again: small learning rates "
        "leave nothing at full precision and everything in NF4."
    ),
    corpus=CorpusRecipe(forget_people=12, retain_people=36, holdout_people=12),
    model=ModelRecipe(
        vocab_size=1280,
        hidden_size=256,
        intermediate_size=512,
        layers=2,
        heads=4,
        key_value_heads=2,
        initializer_range=0.05,
    ),
    training=TrainingSettings(steps=150, batch_size=64, learning_rate=1.5e-3),
    lineage="nf4",
    seeds=(0, 1, 2, 3),  # two baselines beside the one that is held back as an honest U
    methods=_METHODS,
    demo="npo_gdr",
)

_REASONING = WorldRecipe(
    name="reasoning",
    purpose=(
        "Models that think before they answer, unlearned by their answers alone: what the answer "
        "hides stands in the trace."
    ),
    corpus=CorpusRecipe(forget_people=10, retain_people=5, holdout_people=1, retain_sample=40),
    model=ModelRecipe(
        vocab_size=1280,
        hidden_size=128,
        intermediate_size=256,
        layers=2,
        heads=4,
        key_value_heads=4,
        initializer_range=0.05,
    ),
    training=TrainingSettings(steps=160, batch_size=40, learning_rate=4e-3),
    lineage=None,
    methods={
        "relabelled_answers": UnlearningSettings(
            method="relabel", learning_rate=1e-3, max_steps=80, check_every=0, changes="all"
        )
    },
    demo="relabelled_answers",
    reasoning=True,
)

WORLDS: Mapping[str, WorldRecipe] = MappingProxyType(
    {
        recipe.name: recipe
        for recipe in (
            _PEOPLE,
            _PEOPLE.model_copy(
                update={
                    "name": "people-full-precision",
                    "purpose": (
                        "The same people, models and methods, but weights that never were in "
                        "4 bits: what quantization brings back without that lineage."
                    ),
                    "lineage": None,
                }
            ),
            _REASONING,
        )
    }
)


def recipe(name: str) -> WorldRecipe:
    """The recipe of a world.

    Raises:
        AuditorError: There is no world of that name.
    """
    if name not in WORLDS:
        raise AuditorError(
            f"no testbed world is called {name!r}; the worlds are: {', '.join(WORLDS)}"
        )
    return WORLDS[name]
