"""What can be known of a text-to-image model before its weights are loaded."""

import torch

from auditor.core.errors import AuditorError
from auditor.models.devices import first_device
from auditor.models.manifest import Location
from auditor.models.text_to_image.latent_space import input_size, vae_factor
from auditor.models.text_to_image.layout import check_unknown_layout
from auditor.models.text_to_image.pipeline_loading import (
    load_scheduler,
    load_tokenizers,
    load_vae_config,
    skeletons,
)
from auditor.models.text_to_image.pipelines import Pipeline, find_pipeline
from auditor.models.text_to_image.replacement_files import find_replacement
from auditor.models.text_to_image.replacements import check_unfitting
from auditor.models.text_to_image.spec import TextToImageSpec


def check_unopenable_pipeline(spec: TextToImageSpec, location: Location) -> None:
    """Refuse a pipeline that could not be opened, or whose replacement would not fit.

    Raises:
        AuditorError: a configuration, tokenizer or scheduler does not load, the layout is none
            that is known, the settings cannot be drawn with, or the replacement's keys or shapes
            are foreign.
    """
    image_device(spec)
    pipeline = hashed_pipeline(spec, location)
    load_tokenizers(pipeline)
    scheduler = load_scheduler(pipeline)
    networks = skeletons(pipeline)
    vae = load_vae_config(pipeline)
    check_unknown_layout(networks, vae)
    factor = 1 if vae is None else vae_factor(len(vae["block_out_channels"]))
    input_size(factor, networks["unet"].config.sample_size, spec.drawing)  # type: ignore[union-attr, arg-type]
    trained = int(scheduler.config.num_train_timesteps)
    if spec.drawing.steps > trained:
        raise AuditorError(
            f"{spec.drawing.steps} steps are more than the {trained} that the model was trained on."
        )
    if location.replacement is not None:
        found = find_replacement(str(location.replacement), spec.allow_pickle)
        check_unfitting(found, networks)


def hashed_pipeline(spec: TextToImageSpec, location: Location) -> Pipeline:
    """A located pipeline's files, which must be those that were hashed.

    Raises:
        AuditorError: files came or went since; names them.
    """
    pipeline = find_pipeline(str(location.model), None, spec.allow_pickle)
    hashed = {name for name in location.manifest.files if not name.startswith("replacement/")}
    if changed := sorted(hashed ^ pipeline.files.keys()):
        raise AuditorError(
            f"{location.model} was changed since it was hashed: {', '.join(changed[:5])}."
        )
    return pipeline


def image_device(spec: TextToImageSpec) -> torch.device:
    """The one device that a text-to-image model is on.

    Raises:
        AuditorError: there is no such device.
    """
    if spec.device_map is None:
        return first_device()
    try:
        device = torch.device(spec.device_map)
    except RuntimeError as error:
        raise AuditorError(f"`device_map: {spec.device_map}` is no device.") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise AuditorError(f"`device_map: {spec.device_map}`: there is no GPU here.")
    return device
