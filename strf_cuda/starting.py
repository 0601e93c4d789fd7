"""What the model of a new run begins with: random weights, those of an image ResNet, or those of a trained model."""

from strf_cuda.config import TrainConfig, of_image_network
from strf_cuda.errors import InputError
from strf_cuda.models import VideoResNet, load_imagenet_weights, load_trained_weights
from strf_cuda.trained import TrainedModel, open_model


def start_model(model: VideoResNet, config: TrainConfig, person_ids: list[int]) -> list[str]:
    """Sets a fresh model to `config.model.weights`; returns sentences that say what these lack or have beyond it.

    Raises:
        InputError: no such file, one that is damaged or holds other things, weights of another architecture, or
            weights that are not finite.
    """
    source = config.model.weights
    if source is None:
        return []
    notes = []
    if of_image_network(source):
        load_imagenet_weights(model, source)
    else:
        trained = open_model(source)
        same_people = _know_the_same_people(trained, config, person_ids)
        notes = load_trained_weights(model, trained.model, source, same_people=same_people)
    for name, tensor in model.state_dict().items():
        if not tensor.isfinite().all():
            raise InputError(f"the weights of {source} are of no use: {name} holds NaN or infinity")
    return notes


def _know_the_same_people(trained: TrainedModel, config: TrainConfig, person_ids: list[int]) -> bool:
    """Whether both are trained on the same people. Equal numbers alone do not say so: every data set has its own."""
    before, now = trained.config.data, config.data
    same_data = (before.name, before.root, before.split or 0) == (now.name, now.root, now.split or 0)
    return same_data and trained.person_ids == person_ids
