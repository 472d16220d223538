"""What every layer of the package may use; nothing of Keras."""
