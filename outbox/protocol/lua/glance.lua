-- What Redis has of some partitions of a stream, to be compared with what their owner knows: one short call for all of
-- them, about once a second, so that a loss is noticed although nothing is published. It decides nothing: whatever is
-- not as the owner knows it, the owner looks at by open.lua.
--
-- KEYS[1] stream   KEYS[2] the stream's record   KEYS[3] and so on: the checkpoints
-- ARGV[1] consumer group; '' to leave that question for another time   ARGV[2] the outbox, as is_ours takes it
-- ARGV[3] the last entry with which all checkpoints but the first ARGV[4] were seen to be as they should be: as long as it
-- is the last one, they are not read
--
-- {last entry, token, tag, token, tag, ...}   of each checkpoint read, '' where it is gone or written for another stream,
--                                        or for what this one had when it was newer
-- {}   the stream is another one, or another outbox's, or its group is gone or beyond its end

local marker, last, added, known, owner, begins, _, database = recognize(KEYS[1], KEYS[2])
if not marker or not owner or not is_ours(owner, database, ARGV[2]) then return {} end
if ARGV[1] ~= '' then
  local grouped = false  -- and so it is where the stream is gone that nothing was ever published to
  for _, flat in ipairs(redis.pcall('XINFO', 'GROUPS', KEYS[1])) do
    if flat[2] == ARGV[1] then grouped = not beyond(named(flat), last) end
  end
  if not grouped then return {} end
end
if known ~= last then
  redis.call('HSET', KEYS[2], 'last', last, 'added', added, 'first', begins)  -- others have added to it
end

local found, most = {last}, #KEYS
if last == ARGV[3] then most = 2 + ARGV[4] end
for i = 3, most do
  local there = redis.call('HMGET', KEYS[i], 'token', 'tag', 'marker', 'last')
  -- A stream that ends before what the checkpoint knows is an older copy, see open.lua.
  local ours = there[3] == marker and not (is_id(there[4]) and earlier(last, there[4]))
  found[#found + 1] = ours and there[1] or ''
  found[#found + 1] = ours and there[2] or ''
end
return found
