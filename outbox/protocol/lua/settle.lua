-- What a look found has been carried out: the next one goes on from there.
--
-- KEYS[1] stream   KEYS[2] the stream's record
-- ARGV[1] its own group   ARGV[2] the look's random word
--
-- {1}   or   {0}: somebody else has looked since, so this look counts for nothing

local stored = redis.call('HMGET', KEYS[2], 'look', 'looked')
if not stored[1] or not stored[2] then return {0} end
local look, looked = read_look(stored[1]), read_look(stored[2])
if not look or not looked then return {0} end
if looked.tag ~= ARGV[2] or looked.follows ~= look.tag or looked.marker ~= look.marker then return {0} end
redis.call('HDEL', KEYS[2], 'looked')  -- first: a full Redis refuses the others, unless something was written before
if redis.call('EXISTS', KEYS[1]) == 1 then
  redis.pcall('XGROUP', 'CREATECONSUMER', KEYS[1], ARGV[1], MARK)  -- refused when the group was destroyed meanwhile
end
redis.call('HSET', KEYS[2], 'look', stored[2])
return {1}
