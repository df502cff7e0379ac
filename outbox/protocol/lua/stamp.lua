-- End a recovery: an empty batch. What was published before it is another history from here on, and a partition whose
-- stream was replaced is for the new one.
--
-- KEYS[1] checkpoint   KEYS[2] stream         KEYS[3] the stream's record
-- ARGV[1] token        ARGV[2] batch number   ARGV[3] tag   ARGV[4] tag of what was opened   ARGV[5] marker, likewise
-- ARGV[6] the outbox, as is_ours takes it
--
-- {'stamped'}   or   {'gap'}: what was opened is not there any more
-- {'foreign', identity, database, hosts}   the stream belongs to that outbox

local foreign = of_another(KEYS[3], ARGV[6])
if foreign then return foreign end
local there = redis.call('HMGET', KEYS[1], 'token', 'tag')
if there[1] ~= ARGV[1] or there[2] ~= ARGV[4] or recognize(KEYS[2], KEYS[3]) ~= ARGV[5] then
  return {'gap'}
end
-- It names no batch before it, so that it is never taken for one that was merely not marked. What comes next comes after
-- the stream's last entry: the entries of a stream that was replaced may lie anywhere.
local last = position(KEYS[2])
redis.call('HSET', KEYS[1], 'batch', ARGV[2], 'tag', ARGV[3], 'previous', '', 'messages', '', 'marker', ARGV[5],
  'first', last, 'last', last)
return {'stamped'}
