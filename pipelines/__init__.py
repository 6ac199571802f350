"""From images to a served model: the data, the training, the evaluation, the export."""
