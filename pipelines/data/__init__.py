"""Sources, the record format, decoding, preprocessing and batches."""
