"""Writing a pipeline's directory with the weights as they are in memory."""

import json
from pathlib import Path

from auditor.models.checkpoint_files import read_json
from auditor.models.text_to_image.pipeline_loading import Parts
from auditor.models.text_to_image.spec import INDEX


def write_pipeline(parts: Parts, source: Path, folder: Path) -> None:
    """Write a pipeline that diffusers opens, without what was set aside.

    Args:
        parts: the components to save.
        source: the directory that they come from; its index is kept.
        folder: where to; its index is written last, so that a whole directory is known by it.
    """
    for name, part in parts.all.items():
        part.save_pretrained(folder / name)
    index = {
        name: said if name in parts.all or not isinstance(said, list) else [None, None]
        for name, said in read_json(source / INDEX).items()
    }
    (folder / INDEX).write_text(json.dumps(index, indent=2), encoding="utf-8")
