"""The explorer: random faults, one upon the other, over real servers; then everything comes to rest, and the judge
decides.

A seed gives the list of actions, each with its choices, and what kind of servers there are. It does not give the
moments at which processes meet: a seed that has found something may have to be run several times to find it again.
"""
