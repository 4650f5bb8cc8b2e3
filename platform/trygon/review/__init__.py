"""Review of a run by people, in a browser: what is to be looked at, what they said, pictures, and the server."""
