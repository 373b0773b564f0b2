"""Files to samples: images, encodings of labels, folders, readers around readers."""
