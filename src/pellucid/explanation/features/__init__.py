"""What a network has learnt: kernels, feature maps, what excites a unit, hidden states, attention, probes. The verb is in features.py."""
