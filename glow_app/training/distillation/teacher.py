"""The teacher of a distillation: opened, compared with its student, and sampled where its data are not there."""

import torch
from torch import Tensor

from glow_app.artifacts.weights import Exported, load
from glow_app.config.data import has_density
from glow_app.config.train import TrainConfig
from glow_app.data.sets.points import Points
from glow_app.data.source import ImageSource
from glow_app.errors import UserError
from glow_app.flows import CNF, VAE, Flow
from glow_app.likelihood import quantize
from glow_app.training.distillation.density import DensityTeacher
from glow_app.training.distillation.measure import classes


class TeacherSamples(ImageSource):
    """Samples of the teacher in place of its data, which are not there: a new student is initialised by them.

    Args:
        teacher: the teacher.
        name: name of its data set.
        n: number of samples.
        seed: seed of their latents.
    """

    split = "train"

    def __init__(self, teacher: Exported, name: str, n: int, seed: int) -> None:
        self.name, self.n_images = name, n
        self.image_shape, self.class_names = teacher.card.image_shape, teacher.card.class_names
        self.preprocessing = teacher.card.preprocessing
        self.digest, self.seed = teacher.digest, seed
        self.classes = classes(teacher.flow, n)
        x = torch.nan_to_num(teacher.flow.sample(n, seed=seed, cond=self.classes))
        self.images = quantize(x, teacher.card.n_bits)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.images[index]

    def item_name(self, index: int) -> str:
        """Number of the sample."""
        return f"sample_{index}"

    def content(self) -> dict[str, object]:
        return {"model": self.digest, "seed": self.seed}


Teacher = Exported | DensityTeacher


def open_teacher(config: TrainConfig) -> Teacher | None:
    """Loads the model that ``teacher`` names, or takes the density of the data set of that name; None without one.

    Raises:
        UserError: there is no such model, or it is one of another shape, or with another support or other classes than
            the student of this run.
    """
    if config.teacher is None:
        return None
    if has_density(config.teacher):
        points = config.data.open("test")
        assert isinstance(points, Points)  # the options have been checked together
        return DensityTeacher(points.density, points.name)
    teacher = load(config.teacher)
    card, what = teacher.card, f"teacher={config.teacher}"
    if isinstance(teacher.flow, VAE):
        raise UserError(f"{what} is a VAE, which has no exact density to learn from: choose a flow")
    if card.n_bits != config.data.n_bits or (card.n_bits is not None and card.image_shape[1:] != config.data.size):
        theirs, ours = _shape(card.image_shape, card.n_bits), _shape((None, *config.data.size), config.data.n_bits)
        raise UserError(f"{what} is a model of {theirs}, and this student one of {ours}: leave data out")
    if bool(card.class_names) != config.model.class_conditional:
        raise UserError(
            f"{what} is {'' if card.class_names else 'not '}class-conditional: give the student "
            f"model.class_conditional={str(bool(card.class_names)).lower()}"
        )
    border, own = (None if card.n_bits is None else getattr(m, "logit", None) for m in (card.model, config.model))
    if border is not None and (own is None or own > border):
        raise UserError(
            f"{what} has no density outside of the pixels' range (model.logit={border:g}), and samples of this student "
            f"may lie there: choose a model with the option logit, and model.logit={border:g}"
        )
    return teacher


def _shape(image_shape: tuple[int | None, int, int], n_bits: int | None) -> str:
    if n_bits is None:
        return "points in the plane"
    return f"{image_shape[1]}x{image_shape[2]} images of {n_bits} bits"


def require_student(flow: Flow, teacher: Flow | DensityTeacher, config: TrainConfig) -> None:
    """Raises a UserError if a student has other classes than its teacher, or samples that are slow.

    The latter would take long to train, and nothing would be gained.
    """
    if flow.n_classes != teacher.n_classes:
        raise UserError(
            f"teacher={config.teacher} knows {teacher.n_classes} classes, and data={config.data.name} has "
            f"{flow.n_classes}: leave data out"
        )
    if isinstance(flow, CNF):
        _require_reflow(teacher, config)
    elif flow.decodes_in_turn or flow.decodes_by_search:
        how = "one number after the other" if flow.decodes_in_turn else "by a search"
        raise UserError(
            f"model={config.model.name} samples {how}, which is what distillation is to avoid: choose another student, "
            "such as model=iaf"
        )


def _require_reflow(teacher: Flow | DensityTeacher, config: TrainConfig) -> None:
    """Raises a UserError if a continuous flow cannot learn the paths of its teacher."""
    if not isinstance(teacher, CNF):
        raise UserError(
            f"model={config.model.name} learns straight paths from another continuous flow, and "
            f"teacher={config.teacher} is none: choose such a teacher, or another student, such as model=iaf"
        )
    if config.model.training != "flow_matching":  # type: ignore[attr-defined]
        raise UserError("model.training=likelihood: paths are learned by model.training=flow_matching")
    if config.anneal_steps:
        raise UserError(
            f"anneal_steps={config.anneal_steps}: paths are learned without a weight of log p; leave it out"
        )
