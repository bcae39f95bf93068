"""explain and certify: why a network said what it said, and how far to trust the explanation. Works on any torch.nn.Module."""
