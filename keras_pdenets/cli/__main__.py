"""`python -m keras_pdenets.cli`."""

import os
import sys

from keras_pdenets.cli import main

if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.exit(main())
