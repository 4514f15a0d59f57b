"""Everything that needs torch: networks, losses, the dataset, the trainer and the export to a model file."""
