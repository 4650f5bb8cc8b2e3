"""How much one request may ask for, whoever runs the server; what may be changed is in `trygon.limits`."""

MAX_K = 100
MAX_EXAMPLES = 16
MAX_NAMES = 1000
MAX_NAME_CHARACTERS = 200
MAX_CLADES = 16
MAX_PAGE = 500
