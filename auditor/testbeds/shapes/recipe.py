"""Recipe that decides the bytes of the world `shapes`."""

from pydantic import BaseModel, ConfigDict, Field, field_validator

from auditor.core.hashing import former_digest
from auditor.testbeds.shapes.drawing import TRAINED
from auditor.testbeds.shapes.erased import Erasures, MaterialRecipe
from auditor.testbeds.shapes.network import NetworkRecipe
from auditor.testbeds.shapes.oracle import OracleTraining
from auditor.testbeds.shapes.training import DiffusionTraining

MODELS_VERSION = 1
"""Version that is raised whenever a change to this package changes what the trained models are."""

FACTS_VERSION = 2
"""Version that is raised whenever a change to this package changes facts or pictures."""

CLASSIFIER_VERSION = 1
"""Version that is raised whenever a change to this package changes the classifier."""

ERASURES_VERSION = 1
"""Version that is raised whenever a change to the erasures changes what they make."""


class ShapesRecipe(BaseModel):
    """Everything that decides the bytes of a world of text-to-image models.

    Attributes:
        name: What users call it.
        purpose: One sentence on what the world shows.
        forget: The shape to be forgotten.
        prompts: Facts to forget; as many are held out, and twice as many kept.
        facts_seed: Seed of the contexts of the prompts.
        network: Widths of the models.
        training: How the original and the retrained models are trained.
        oracle: How the classifier is trained.
        seeds: Training seeds of the original, then of each retrained model.
        material: What the erasures are given.
        erasures: How the erased models are made.
        demo: The erased model that the demo audits.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    purpose: str
    forget: str = "circle"
    prompts: int = Field(default=96, gt=0)
    facts_seed: int = 7
    network: NetworkRecipe = NetworkRecipe()
    training: DiffusionTraining
    oracle: OracleTraining = OracleTraining()
    seeds: tuple[int, ...] = (0, 1, 2)
    material: MaterialRecipe = MaterialRecipe()
    erasures: Erasures = Erasures()
    demo: str = "rece"

    @field_validator("forget")
    @classmethod
    def _trained(cls, shape: str) -> str:
        if shape not in TRAINED:
            raise ValueError(f"is {shape!r}, not one of {', '.join(TRAINED)}")
        return shape

    @property
    def retrained(self) -> tuple[str, ...]:
        """Names of the models trained without the forgotten shape."""
        return tuple(f"retrained-{index}" for index in range(len(self.seeds) - 1))

    @property
    def models(self) -> tuple[str, ...]:
        """Names of all models, the original first."""
        return ("original", *self.retrained, *Erasures.names())

    @property
    def digest(self) -> str:
        """Return the sha256 (hex) of what decides the trained models.

        It names the world's folder.

        What is made in seconds has digests of its own, so that changing it trains nothing again.
        """
        return self._digest(MODELS_VERSION, "name", "forget", "network", "training", "seeds")

    @property
    def facts_digest(self) -> str:
        """Sha256 (hex) of what decides facts and pictures."""
        return self._digest(FACTS_VERSION, "forget", "prompts", "facts_seed")

    @property
    def classifier_digest(self) -> str:
        """Sha256 (hex) of what decides the classifier."""
        return self._digest(CLASSIFIER_VERSION, "oracle")

    def erasure_digest(self, name: str) -> str:
        """Sha256 (hex) of what decides one erased model beside the trained ones."""
        settings = getattr(self.erasures, name).model_dump(mode="json")
        return former_digest(
            {"settings": settings, "given": self._digest(ERASURES_VERSION, "material")}
        )

    def shipped_digest(self, name: str) -> str:
        """Sha256 (hex) of everything that decides a model, or ``classifier``."""
        if name == "classifier":
            return self.classifier_digest
        if name in Erasures.names():
            return former_digest({"trained": self.digest, "erasure": self.erasure_digest(name)})
        return self.digest

    def _digest(self, version: int, *fields: str) -> str:
        chosen = self.model_dump(mode="json", include=set(fields))
        return former_digest({"code": version, "recipe": chosen})


SHAPES = ShapesRecipe(
    name="shapes",
    purpose=(
        "A text-to-image model made to forget one shape: what prompts no longer draw, other "
        "words, embeddings and a little training may."
    ),
    training=DiffusionTraining(steps=2500),
)
"""World that users build."""
