"""What is asked beyond one training: how much more data would help, which remedy does. Each study trains the same network many times."""
