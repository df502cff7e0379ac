-- An operator gives a stream to this outbox. All that is in it counts as this outbox's from here on.
--
-- KEYS[1] the stream's record   ARGV[1] the outbox's identity   ARGV[2] its database   ARGV[3] its hosts
--
-- {identity, database, hosts} of the outbox that it belonged to; {} it was nobody's, or this one's already

local foreign = of_another(KEYS[1], ARGV[1] .. ' ' .. ARGV[2])
if not foreign then return {} end
redis.call('HSET', KEYS[1], 'outbox', ARGV[1], 'database', ARGV[2], 'hosts', ARGV[3], 'since', '0-0')
return {foreign[2], foreign[3], foreign[4]}
