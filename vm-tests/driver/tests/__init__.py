"""Tests of the driver that need no guest: `python3 -m unittest discover -t . -s driver/tests` in vm-tests/."""
