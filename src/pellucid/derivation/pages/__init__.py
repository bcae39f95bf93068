"""A derivation as plain text, LaTeX and HTML: one content, three ways to draw it."""
