"""What the samples tell: their contents, plain models fitted to them, how parts and labels are related."""
