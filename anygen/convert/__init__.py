"""Public checkpoints to model folders: each converter checks everything first, and only then reads weights."""
