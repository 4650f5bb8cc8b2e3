"""From boxes with vectors to observations and events."""
