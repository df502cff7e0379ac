-- A sign of life for entries in a consumer's hands: as if they had been delivered just now, so that nobody takes them
-- for abandoned. One that is another's by now, or was acknowledged, is left alone and told. Looking and claiming are one
-- step: a claim alone would take an entry back from whoever has claimed it since.
--
-- KEYS[1] stream   ARGV[1] group   ARGV[2] consumer   ARGV[3…] entry ids
--
-- the ids of entries that are this consumer's no longer

local lost = {}
for n = 3, #ARGV do
  local held = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[n], ARGV[n], 1)[1]
  if held and held[2] == ARGV[2] then
    redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[n], 'IDLE', 0, 'JUSTID')
  else
    lost[#lost + 1] = ARGV[n]
  end
end
return lost
