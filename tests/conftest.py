"""What all tests share: nothing from the network, and the same examples every time."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

import hypothesis

hypothesis.settings.register_profile("same", deadline=None, derandomize=True, database=None, max_examples=40)
hypothesis.settings.load_profile("same")
