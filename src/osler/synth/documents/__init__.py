"""Documents of a synthetic patient: laboratory reports, letters, and what they look like through a scanner."""
