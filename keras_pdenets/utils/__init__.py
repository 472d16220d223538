"""What every layer of the package may use: whole files, printable texts; nothing of Keras."""
