-- After a stream was deleted and its messages were taken back: let the checkpoint stand where the stream stands now.
-- The numbering of batches goes on.
--
-- KEYS[1] checkpoint   KEYS[2] stream   ARGV[1] token
--
-- {'resumed'}   or   {'fenced', token there or ''}

local token = redis.call('HGET', KEYS[1], 'token')
if token ~= ARGV[1] then
  return {'fenced', token or ''}
end
local last, added = position(KEYS[2])
redis.call('HSET', KEYS[1], 'last', last)
if added then
  redis.call('HSET', KEYS[1], 'added', added)
end
return {'resumed'}
