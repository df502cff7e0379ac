"""Everyday traffic for hours while servers and programs fail: nothing is lost, and nothing grows."""
