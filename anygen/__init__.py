"""Text, images, sound and video in; text, images, sound and video out, in one ordered answer."""
