"""An exhaustive model of the partition protocol: every order of every step, within bounds, for G3, G4 and G5.

MongoDB, Redis and up to two relays are one immutable value (`world`). From it, `environment` derives every world that
can come next: a relay's request is executed, lost, repeated or executed late (`relay`, `scripts`, `statements`), a
lease changes hands, callers append, workers complete, an operator replays, Redis goes back to a copy and perhaps
forth again, a key is deleted, MongoDB is restored or its leases are made anew. `search` visits all of them breadth
first, so that a counterexample is a shortest one, and `telling` tells it. A relay that sleeps is one that takes no
step; one that is killed never takes one.

Judged (`promises`): in every world, that no attempt of a message is in the stream twice, and no message more often
than once and once more per replay (G4); that the first entries of one key's messages are in commit order, unless a
fault took the earlier one's entry and left the later one's, or the earlier one was replayed (G3); and that from here,
with no more faults, one relay alone comes to rest, with every message in the stream under its attempt or completed,
nothing settled published again, and still no repetition (G5, and G4 over a recovery).

`rules` lists the protections, each a switch. `scenarios` has what must hold, and which promise breaks without which
protection: `python -m tests.model --without stamp` tells that story. Some protections are second lines: others refuse
all that they refuse (`--without chain,token` tells what happens without both).

There is no time in it, as no promise may rest on a clock: a lease can change hands at any moment, and a request that
was given up, or whose sender sleeps, can arrive at any later one.

Left out:

- Why a change stream ends, or shows a message late: with one (`Bounds.tail`), a relay that has caught up publishes what
  it is shown, at any time after the commit, and fetches again at any time.
- All that is not one partition of one outbox. At a stream of another one every script is refused, and changes nothing.
  Other partitions only add entries to the stream and give it a new marker. How a new stream is told from the old one
  (by its last id and its count, in the record that partitions share) is taken for granted.
- MongoDB's inside: statements are atomic per page and never rolled back; a restore happens with all relays stopped,
  between two appends, and without replays since.
- Redis's inside: a script is atomic, and is lost or kept as a whole. (An append-only file that was cut inside a script
  brings the beginning of that script back at the second start after it: a defect of Redis.) Two histories exist at a
  time: the live one and one that can come back. Random tags never collide, among those that anybody remembers.
- The scan is one read. In the relay it is many pages, each of which counts only under the same checkpoint and marker.
- A fetch is one batch. The relay's is up to four, of one snapshot.
- Trimming, pruning, scheduling, poison, rescue (a replay, as far as this goes), the contents of messages, consumers
  beyond "completes what it holds", and everything about speed.
- More than the bounds: two relays at once, four messages, batches of two, three leases, and a few faults per run. A
  protocol that holds here may still break in a longer story; it never has to be believed about a shorter one.
"""
