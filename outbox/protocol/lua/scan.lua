-- A page of what the stream holds, while the checkpoint and the stream are still those that were opened.
--
-- KEYS[1] checkpoint   KEYS[2] stream   KEYS[3] the stream's record
-- ARGV[1] token        ARGV[2] tag      ARGV[3] marker
-- ARGV[4] where to begin, as XRANGE takes it   ARGV[5] entries in a page   ARGV[6] the outbox, as is_ours takes it
--
-- {'scanned', entries in this page, its first and its last entry or '', {message id, attempt, message id, attempt, …}, bytes}   or   {'gap'}
-- {'foreign', identity, database, hosts}   the stream belongs to that outbox

local foreign = of_another(KEYS[3], ARGV[6])
if foreign then return foreign end
local there = redis.call('HMGET', KEYS[1], 'token', 'tag')
if there[1] ~= ARGV[1] or there[2] ~= ARGV[2] or recognize(KEYS[2], KEYS[3]) ~= ARGV[3] then
  return {'gap'}
end
local page = redis.call('XRANGE', KEYS[2], ARGV[4], '+', 'COUNT', ARGV[5])
local first, last, found = '', '', {}
for _, entry in ipairs(page) do
  if first == '' then first = entry[1] end
  last = entry[1]
  found[#found + 1], found[#found + 2] = speaks_of(entry[2])
end
local size = 0
for _, entry in ipairs(page) do
  for _, word in ipairs(entry[2]) do size = size + #word end
end
return {'scanned', #page, first, last, found, size}
