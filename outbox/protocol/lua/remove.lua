-- Acknowledge entries whose messages come again, or never, and remove those that no other group needs.
--
-- KEYS[1] stream   ARGV[1] group   ARGV[2…] entry ids

local ids = {unpack(ARGV, 2)}
redis.call('XACK', KEYS[1], ARGV[1], unpack(ids))
remove_unneeded(KEYS[1], ARGV[1], ids)
return {}
