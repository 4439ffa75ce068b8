"""Certificates put to the test: their verdict worked out again, their files looked at."""
