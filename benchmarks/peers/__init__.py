"""Speed of this project beside that of its peers, which run in an environment of their own."""
