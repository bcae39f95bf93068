"""Images with a mask each, in which every pixel's value says what it shows."""
