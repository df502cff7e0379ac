"""The model and the product are one: what the model does is done by the real relay, and the states are compared.

A trace of the model (`tests.model`) is a list of actions: a relay's next request is executed, given up or late, a lease
changes hands, somebody appends, Redis goes back to a copy. `carry` does the same with the product's own drainer,
recovery, statements and scripts on a real MongoDB and a real Redis: each request of a relay waits at a gate (`gates`)
until the trace lets it go, so that every order of steps can be had. After each step, what is in the databases and which
request each relay is about to send (`real`) must be what the model says (`shapes`).

`mapping` is all that knows which of the product's calls make up one request of the model. A change of the protocol is a
change there, in the model, and in the product; one that is missing fails `test_conformance`.
"""
