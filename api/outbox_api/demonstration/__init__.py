"""The demonstration worker of `outbox up`: what an existing worker looks like, and knows nothing of the
outbox.
"""
