"""Pictures to embeds. One file per family; the numbers come from vision_models.json."""
