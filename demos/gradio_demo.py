"""The web demo as a script: `python demos/gradio_demo.py [MODEL]`."""

import sys

import anygen
from anygen.demo import launch

launch(anygen.load(sys.argv[1] if len(sys.argv) > 1 else None))
