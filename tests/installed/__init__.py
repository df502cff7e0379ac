"""What is installed: how little, and that nothing of anybody else is in its way or removed with it."""
