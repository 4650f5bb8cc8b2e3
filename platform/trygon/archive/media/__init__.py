"""From the bytes of a file to frames: headers, clocks, pixels, and the pictures that people get to see."""
