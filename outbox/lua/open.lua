-- Take a partition's checkpoint under a token, and read it. From here on, an older token's scripts are refused.
-- Also the check of an idle owner: with the token already there, it writes nothing.
--
-- KEYS[1] checkpoint   KEYS[2] stream
-- ARGV[1] token        ARGV[2] consumer group, created at 0 if it is not there
-- ARGV[3] 1: write in any case. A WAIT behind this call waits for what its own connection wrote, and for all before it
--         with it; after a call that only read, it would confirm a batch that nobody else has.
--
-- {'opened', batch, tag, previous tag, messages, behind 0|1}   or   {'fenced', the higher token}

local checkpoint = redis.call('HMGET', KEYS[1], 'token', 'batch', 'tag', 'previous', 'messages', 'last', 'added')
local token = checkpoint[1]
if token and tonumber(token) > tonumber(ARGV[1]) then
  return {'fenced', token}
end

-- Before the group is created: that creates the stream, too.
local last, added = position(KEYS[2])

if token ~= ARGV[1] or ARGV[3] == '1' then
  redis.call('HSET', KEYS[1], 'token', ARGV[1])
end

-- At 0, so that a worker that starts late misses nothing. Looked for first, because a refused XGROUP CREATE would be
-- counted as an error of the server every few seconds.
local grouped = false
if redis.call('EXISTS', KEYS[2]) == 1 then
  for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[2])) do
    if group[2] == ARGV[2] then grouped = true end
  end
end
if not grouped then
  redis.call('XGROUP', 'CREATE', KEYS[2], ARGV[2], '0', 'MKSTREAM')
end

return {
  'opened', checkpoint[2] or '0', checkpoint[3] or '', checkpoint[4] or '', checkpoint[5] or '',
  behind(last, added, checkpoint[6], checkpoint[7]) and 1 or 0,
}
