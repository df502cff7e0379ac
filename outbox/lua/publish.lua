-- Publish one batch: all of its entries and the checkpoint, or nothing. One script is one unit in the append-only
-- file, in replication and in a failover, so stream and checkpoint are lost or kept together.
--
-- KEYS[1] checkpoint   KEYS[2] stream
-- ARGV[1] token        ARGV[2] batch number   ARGV[3] tag   ARGV[4] messages, 'id:attempt' by spaces
-- ARGV[5] entries, as JSON: a list of lists of words (name, value, name, value, …). One argument, because thousands
--         of them take client and server several times longer to write and read.
--
-- {'published', first entry, last entry}
-- {'repeated', first entry, last entry}   this very batch is there already: a retry after a lost reply
-- {'fenced', token there or ''}           another owner has opened, or the checkpoint is gone
-- {'gap', batch there}                    the number does not follow, or the stream is behind: Redis has lost data

local checkpoint = redis.call('HMGET', KEYS[1], 'token', 'batch', 'tag', 'first', 'last', 'added')
if checkpoint[1] ~= ARGV[1] then
  return {'fenced', checkpoint[1] or ''}
end
if checkpoint[2] == ARGV[2] and checkpoint[3] == ARGV[3] then
  redis.call('HSET', KEYS[1], 'tag', ARGV[3])  -- as it was, so that a WAIT behind this call has what to wait for
  return {'repeated', checkpoint[4], checkpoint[5]}
end
local last, added = position(KEYS[2])
if tonumber(ARGV[2]) ~= tonumber(checkpoint[2] or '0') + 1 or behind(last, added, checkpoint[5], checkpoint[6]) then
  return {'gap', checkpoint[2] or '0'}
end

local first
local entries = cjson.decode(ARGV[5])
for _, words in ipairs(entries) do
  last = redis.call('XADD', KEYS[2], '*', unpack(words))
  first = first or last
end

redis.call('HSET', KEYS[1], 'batch', ARGV[2], 'tag', ARGV[3], 'previous', checkpoint[3] or '',
  'messages', ARGV[4], 'first', first, 'last', last)
if added then
  redis.call('HSET', KEYS[1], 'added', added + #entries)
end
return {'published', first, last}
