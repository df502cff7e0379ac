-- Whether a stream has room for another batch.
--
-- KEYS[1] stream   ARGV[1] consumer group   ARGV[2] the most that it may have to be given still
--
-- {1 room | 0 none, 1 the entries had to be counted, which takes long | 0}

local waits, counted = waits_for_more_than(tonumber(ARGV[2]), KEYS[1], ARGV[1])
return {waits and 0 or 1, counted and 1 or 0}
