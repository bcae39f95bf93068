"""What one traced batch tells before the first step: operations, shapes, ranges, and what is compared with what."""
