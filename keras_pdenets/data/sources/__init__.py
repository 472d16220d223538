"""Where images come from: each source gives any of its images by number, without TensorFlow."""
