-- After the server's clock was set back, what was delivered before counts as just delivered for as long as the clock
-- needs to come to that time again: hours, or years, in which nobody takes over what a dead consumer holds. So times that
-- lie ahead are set to now. Whoever is alive gives a new sign soon; whoever is not counts as silent from now on.
--
-- A consumer that reads on has a new time of its own, while what it has failed on keeps the one that lies ahead. So each
-- entry is looked at, in pages. Of an entry whose time lies ahead, XPENDING says that it has been idle for 0 ms, as it
-- does of one that was delivered this very moment. So it is only a suspect, until it is seen so again a moment later.
--
-- KEYS[1] stream   KEYS[2] the stream's record   ARGV[1] group   ARGV[2] entries in a page, at most
-- ARGV[3] the outbox, as is_ours takes it
-- ARGV[4] where this page begins, as XPENDING takes it, or '' for none   ARGV[5], ... suspects of the call before
--
-- {how many entries were set to now, where the next page begins or '', suspect, suspect, ...}
-- {'foreign', identity, database, hosts}

local foreign = of_another(KEYS[2], ARGV[3])
if foreign then return foreign end
local there = redis.pcall('XPENDING', KEYS[1], ARGV[1], '-', '+', 1)
if there.err then
  if string.find(there.err, 'NOGROUP', 1, true) then return {0, ''} end
  redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1)  -- fails in its own words
end

local set = 0
local function set_to_now(consumer, ids)
  set = set + #ids
  ids[#ids + 1], ids[#ids + 2], ids[#ids + 3] = 'IDLE', 0, 'JUSTID'
  redis.call('XCLAIM', KEYS[1], ARGV[1], consumer, 0, unpack(ids))
end

local still = {}
for suspect = 5, #ARGV do
  local entry = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[suspect], ARGV[suspect], 1)[1]
  if entry and entry[3] == 0 then
    still[entry[2]] = still[entry[2]] or {}
    table.insert(still[entry[2]], entry[1])
  end
end
for consumer, ids in pairs(still) do set_to_now(consumer, ids) end
if ARGV[4] == '' or not there[1] then return {set, ''} end

if ARGV[4] == '-' then
  -- The consumers' own times, by which those of this library are judged. To be given an entry sets such a time.
  local clock = redis.call('TIME')
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
        if ids[1] then set_to_now(consumer.name, ids) end
      end
    end
  end
end

local page = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[4], '+', ARGV[2])
local answer = {set, #page == tonumber(ARGV[2]) and '(' .. page[#page][1] or ''}
for _, entry in ipairs(page) do
  if entry[3] == 0 then answer[#answer + 1] = entry[1] end
end
return answer
