"""Models as open_clip loads and saves them, and the encoders made of them."""
