"""How well a model names what it sees, and the page that shows it."""
