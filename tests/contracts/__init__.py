"""What other programs rely on, as it is recorded: settings, commands and their JSON, HTTP, metrics, MongoDB, Redis.

`test_contracts` compares the records in this folder with what there is. `python -m tests.contracts` makes them anew.
"""
