"""Runs scenarios, written to the NixOS test driver's API, on Debian guests under plain emulation."""
