-- After the server's clock was set back, what was delivered before counts as just delivered for as long as the clock
-- needs to come to that time again: hours, or years, in which nobody takes over what a dead consumer holds. So times that
-- lie ahead are set to now. Whoever is alive gives a new sign soon; whoever is not counts as silent from now on.
--
-- KEYS[1] stream   KEYS[2] the stream's record   ARGV[1] group   ARGV[2] entries of a consumer, at most
-- ARGV[3] the outbox's identity
--
-- how many entries were set to now, one number   {'foreign', identity, database, hosts}

local foreign = of_another(KEYS[2], ARGV[3])
if foreign then return foreign end
if redis.call('EXISTS', KEYS[1]) == 0 then return {0} end
local clock, set = redis.call('TIME'), 0
local soon = clock[1] * 1000 + math.floor(clock[2] / 1000) + 1000
for _, flat in ipairs(named(redis.call('XINFO', 'STREAM', KEYS[1], 'FULL', 'COUNT', 1)).groups) do
  local group = named(flat)
  for _, one in ipairs(group.name == ARGV[1] and group.consumers or {}) do
    local consumer = named(one)
    if consumer['seen-time'] > soon and consumer.name ~= MARK then
      local ids = {}
      for _, entry in ipairs(redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', ARGV[2], consumer.name)) do
        ids[#ids + 1] = entry[1]
      end
      for first = 1, #ids, 1000 do
        local some = {unpack(ids, first, math.min(first + 999, #ids))}
        some[#some + 1], some[#some + 2], some[#some + 3] = 'IDLE', 0, 'JUSTID'
        redis.call('XCLAIM', KEYS[1], ARGV[1], consumer.name, 0, unpack(some))
      end
      set = set + #ids
    end
  end
end
return {set}
